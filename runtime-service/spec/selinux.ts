import type { PodView } from '#core/model/pod.ts';
import {
  appliedLabels,
  checkSelinuxOptions,
  type SelinuxDefaults,
  type SelinuxLabels,
  typeOf,
  withOptions,
} from '#core/model/selinux.ts';
import type { Selinux } from '#linux/ports/selinux.ts';
import type { SecurityContext } from '../config.ts';

/**
 * The labels of a container: its pod's, with the parts that it requests itself (as CRI-O has it). Undefined where SELinux is not
 * in use, where the container shares the node's processes or IPC, and where it requests none in a pod that was made without.
 * Throws InvalidArgument for parts that are not valid, or that the policy does not know.
 */
export function containerLabels(
  { selinux: options, privileged }: SecurityContext,
  pod: PodView,
  defaults: SelinuxDefaults | undefined,
  kernel: Pick<Selinux, 'canonical'>,
): SelinuxLabels | undefined {
  if (!defaults) return undefined;
  checkSelinuxOptions(options);
  const requests = options !== undefined && Object.values(options).some((part) => part !== '');
  if (!pod.selinux && !requests) return undefined;
  const merged = withOptions(pod.selinux ?? defaults, options);
  const labels = requests
    ? { process: kernel.canonical(merged.process), files: kernel.canonical(merged.files) }
    : merged;
  const applied = appliedLabels(
    labels,
    {
      privileged,
      sharesNode: pod.pid === 'node' || pod.ipc === 'node',
      onNodeNetwork: pod.network === 'node',
    },
    defaults,
  );
  return applied.process === '' && applied.files === '' ? undefined : applied;
}

/** A process of this type may use all files whatever their labels are: its volumes keep theirs, as in CRI-O. */
const SUPER_PRIVILEGED = 'spc_t';

/** The label that volumes get which are to be relabelled; undefined: none. */
export const volumeLabel = (labels: SelinuxLabels | undefined): string | undefined =>
  labels && labels.files !== '' && typeOf(labels.process) !== SUPER_PRIVILEGED ? labels.files : undefined;
