/** Bounds of what clients attach to pods and containers. */
import { CrispError } from '#core/errors.ts';

/**
 * Bytes of all labels and annotations of a pod or container. Kubernetes stores no object of more than 1.5 MiB, so a kubelet has fewer.
 * They are in each list and status: beyond half of what a reply may have, 16 MiB, one object alone could be in none.
 */
export const MAX_LABELS = 8 << 20;

type Texts = Readonly<Record<string, string>>;

const sizeOf = (texts: Texts): number =>
  Object.entries(texts).reduce(
    (sum, [key, value]) => sum + Buffer.byteLength(key) + Buffer.byteLength(value),
    0,
  );

/** Throws InvalidArgument where they are more than `MAX_LABELS`. `what`: whose they are. */
export function assertLabelsBounded(what: string, labels: Texts, annotations: Texts): void {
  const bytes = sizeOf(labels) + sizeOf(annotations);
  if (bytes <= MAX_LABELS) return;
  throw new CrispError(
    'InvalidArgument',
    `${what}: labels and annotations have ${bytes} bytes, more than ${MAX_LABELS}`,
    { hint: 'shorten them: they would be in each list' },
  );
}
