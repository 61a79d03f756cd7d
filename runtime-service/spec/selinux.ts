import { CrispError } from '#core/errors.ts';
import type { PodView } from '#core/model/pod.ts';
import type { SecurityContext } from '../config.ts';

export interface SelinuxLabels {
  readonly process: string;
  /** Of the root file system and of what the OCI runtime mounts. Volumes keep theirs: nothing is walked. */
  readonly files: string;
}

const PART = /^[A-Za-z0-9_.:,-]{1,128}$/;

/**
 * The labels of a container on a host with SELinux: the requested parts, and the usual ones for what is left out. None
 * where nothing is requested, for privileged containers, and in pods that share the node's processes or IPC. Throws
 * InvalidArgument for an invalid part.
 */
export function selinuxLabels(
  { selinux, privileged }: SecurityContext,
  pod: PodView,
): SelinuxLabels | undefined {
  if (!selinux || privileged || pod.pid === 'node' || pod.ipc === 'node') return undefined;
  for (const [part, value] of Object.entries(selinux)) {
    if (value === '' || PART.test(value)) continue;
    throw new CrispError(
      'InvalidArgument',
      `selinux_options.${part} ${JSON.stringify(value)} is not a valid part of a label`,
      {
        hint: 'give parts such as system_u, system_r, container_t, s0:c1,c2',
      },
    );
  }
  const { user, role, type, level } = selinux;
  if (user + role + type + level === '' || type === 'spc_t') return undefined;
  return {
    process: `${user || 'system_u'}:${role || 'system_r'}:${type || 'container_t'}:${level || 's0'}`,
    files: `system_u:object_r:container_file_t:${level || 's0'}`,
  };
}
