/** The size of a pod's /dev/shm by annotation, as in CRI-O. */
import { type Annotated, findAnnotation } from '#core/allowed-annotations.ts';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { parseQuantity } from '#core/quantity.ts';
import type { SandboxConfig } from './config.ts';

/** CRI-O's, the newer one first. */
const KEYS = ['shm-size.crio.io', 'io.kubernetes.cri-o.ShmSize'];
/** For tmpfs(5) 0 is no limit. */
const MIN_BYTES = 4096;
const MAX_BYTES = 2 ** 50;

/**
 * Bytes, undefined for the default. Throws InvalidArgument where the annotation is allowed and not a size. It has no effect, which
 * is logged, where it is not allowed, or the pod has the /dev/shm of the node.
 */
export function shmSize(
  { annotations, linux }: SandboxConfig,
  allowed: readonly string[],
  log: Log,
): number | undefined {
  const found = findAnnotation(annotations, KEYS, allowed);
  if (!found) return undefined;
  const ignored = !found.allowed
    ? 'it is not in allowed_annotations'
    : linux.security.namespaces.ipc === 'node' && 'the pod has the IPC namespace of the node';
  if (!ignored) return sizeOf(found);
  log.info({ annotation: found.key, why: ignored }, 'an annotation of the pod is ignored');
  return undefined;
}

function sizeOf({ key, value }: Annotated): number {
  const bytes = parseQuantity(value);
  if (bytes !== undefined && bytes >= MIN_BYTES && bytes <= MAX_BYTES) return bytes;
  throw new CrispError('InvalidArgument', `annotation ${key} ${JSON.stringify(value)} is not a size`, {
    hint: 'give a quantity from 4Ki to 1Pi, such as 256Mi',
  });
}
