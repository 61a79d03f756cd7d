/** The sources of mounts on the host: what the handler or the host does not support is refused, what is missing is made. */

import { lstat, mkdir, realpath, stat } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { PodView } from '#core/model/pod.ts';
import type { MountEntry } from '#linux/ports/kernel.ts';
import type { MountRequest } from '../config.ts';
import type { Context } from '../context.ts';
import type { OciRuntime } from '../oci-runtime/cli.ts';
import { requireIdMaps, requireRecursiveReadOnly } from '../oci-runtime/features.ts';
import { inContainer, isWithin } from '../spec/mounts.ts';
import type { OciMount } from '../spec/oci.ts';

/**
 * Throws RroUnsupported or FailedPrecondition where the container's OCI runtime lacks what a mount needs, and
 * InvalidArgument for id maps in a pod without a user namespace. Makes nothing. Resolves with the container paths of
 * mapped mounts whose sources have mounts below them.
 */
export async function checkMounts(
  context: Context,
  oci: OciRuntime,
  pod: PodView,
  mounts: readonly MountRequest[],
): Promise<ReadonlySet<string>> {
  const trees = new Set<string>();
  const recursive = mounts.find(({ recursiveReadOnly, image }) => recursiveReadOnly && image === '');
  const mapped = mounts.filter(({ uidMappings }) => uidMappings.length > 0);
  if (!pod.userNamespace && mapped[0]) {
    throw new CrispError(
      'InvalidArgument',
      `mount ${mapped[0].containerPath} has id mappings, its pod has no user namespace`,
      { hint: 'make the pod with userns_options mode POD, or drop the mappings' },
    );
  }
  if (!recursive && !pod.userNamespace) return trees;
  const features = await oci.features();
  if (recursive) requireRecursiveReadOnly(oci.handler, recursive.containerPath, features);
  if (pod.userNamespace) requireIdMaps(oci.handler, features);
  for (const { hostPath, containerPath, image } of mapped) {
    const path = image === '' ? await realpath(hostPath).catch(() => '') : '';
    const below = path === '' ? [] : context.kernel.mounts.below(path);
    const lost = below.find(({ target }) => target !== path);
    if (!lost) continue;
    trees.add(containerPath);
    if (features.idMapsTrees) continue;
    throw new CrispError(
      'FailedPrecondition',
      `mount source ${hostPath} has a mount below it, ${lost.target}, which ${features.version} leaves out of an id-mapped mount`,
      { hint: 'mount the two paths one by one, or use a handler with a newer OCI runtime' },
    );
  }
  return trees;
}

/** Both peers make a missing source as a directory; the kubelet has made its own before. */
export async function makeMountSources(
  context: Pick<Context, 'host' | 'kernel'>,
  mounts: readonly Pick<MountRequest, 'hostPath' | 'image' | 'propagation'>[],
): Promise<void> {
  for (const { hostPath, image, propagation } of mounts) {
    if (image !== '') continue;
    await refuseAbsent(context, hostPath);
    await makeSource(hostPath);
    if (propagation !== 'private') await checkPropagation(context, hostPath, propagation);
  }
}

/** Throws FailedPrecondition for a missing source that the configuration forbids to make. */
async function refuseAbsent({ host }: Pick<Context, 'host'>, hostPath: string): Promise<void> {
  if (!host.defaults.absentSourcesToReject.includes(inContainer(hostPath))) return;
  try {
    await stat(hostPath);
  } catch (error) {
    throw new CrispError(
      'FailedPrecondition',
      `mount source ${hostPath} does not exist, and is in container.absent_mount_sources_to_reject`,
      { cause: error, hint: 'make the path on the node first; crisp does not make it' },
    );
  }
}

async function makeSource(hostPath: string): Promise<void> {
  try {
    await mkdir(hostPath, { recursive: true, mode: 0o755 });
  } catch (error) {
    // An existing file, socket or device is a valid source; a dangling link is not.
    if (errnoOf(error) === 'EEXIST') return;
    throw new CrispError('InvalidArgument', `mount source ${hostPath} cannot be used or made`, {
      cause: error,
      hint: 'make the path on the node, or correct host_path',
    });
  }
}

/**
 * A mount below a read-only one needs an existing mount point there: the OCI runtime cannot make one. Throws InvalidArgument
 * with both. Targets of links are left to the OCI runtime.
 */
export async function checkMountPoints(mounts: readonly OciMount[]): Promise<void> {
  // Few are: an image may declare thousands of volumes.
  const readonly = mounts.filter((mount) => mount.type === 'bind' && isReadOnly(mount));
  for (const { destination } of mounts) {
    const isAbove = (mount: OciMount) =>
      mount.destination !== destination && isWithin(destination, mount.destination);
    if (!readonly.some(isAbove)) continue;
    const parent = mounts.findLast(isAbove);
    if (!parent?.source || parent.type !== 'bind' || !isReadOnly(parent)) continue;
    const rest = destination.slice(parent.destination.length + 1).split('/');
    if (!(await isMissing(parent.source, rest))) continue;
    throw new CrispError(
      'InvalidArgument',
      `mount ${destination}: the read-only mount ${parent.destination} (${parent.source}) has nothing at ${rest.join('/')}`,
      {
        hint: `make it there (an empty file or directory), mount ${parent.destination} writable, or elsewhere`,
      },
    );
  }
}

const isReadOnly = ({ options = [] }: OciMount): boolean => options.includes('ro') || options.includes('rro');

async function isMissing(source: string, parts: readonly string[]): Promise<boolean> {
  let at = source;
  for (const part of parts) {
    at = `${at}/${part}`;
    const found = await lstat(at).catch(missing);
    if (!found || found.isSymbolicLink()) return found === undefined;
  }
  return false;
}

function missing(error: unknown): undefined {
  if (!['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '')) throw error;
}

/** A private mount propagates nothing: the request would silently have no effect. */
async function checkPropagation(
  { kernel }: Pick<Context, 'kernel'>,
  hostPath: string,
  propagation: 'host-to-container' | 'bidirectional',
): Promise<void> {
  const path = await realpath(hostPath);
  const mount = mountOf(kernel.mounts.below('/'), path);
  const has = (kind: string) => mount?.tags.some((tag) => tag.startsWith(kind)) ?? false;
  if (has('shared:') || (propagation === 'host-to-container' && has('master:'))) return;
  throw new CrispError(
    'FailedPrecondition',
    `mount source ${hostPath} requests ${propagation} propagation, but is on ${mount?.target ?? '/'}, which is a private mount`,
    { hint: `make the mount shared on the node: mount --make-rshared ${mount?.target ?? '/'}` },
  );
}

/** The mount that a path is on: of those with the longest target the last one, which hides the others. */
function mountOf(mounts: readonly MountEntry[], path: string): MountEntry | undefined {
  let found: MountEntry | undefined;
  for (const mount of mounts) {
    const { target } = mount;
    const holds = target === '/' || path === target || path.startsWith(`${target}/`);
    if (holds && target.length >= (found?.target.length ?? 0)) found = mount;
  }
  return found;
}
