import { CrispError } from '#core/errors.ts';
import type { PodView } from '#core/model/pod.ts';
import type { NamespaceMode } from '#core/model/security.ts';
import type { OciLinux } from './oci.ts';

/** The pid mode in force: the container's own, within what the pod allows. Throws InvalidArgument on a contradiction. */
export function pidMode(wanted: NamespaceMode, pod: PodView): NamespaceMode {
  if (wanted === 'node' && pod.pid !== 'node') {
    throw new CrispError('InvalidArgument', 'pid mode NODE in a pod that was not made with it', {
      hint: "use the pod's mode",
    });
  }
  if (wanted === 'pod' && pod.pins.pid === undefined) return pod.pid === 'node' ? 'node' : 'container';
  return wanted;
}

/** The namespaces of a container: its own mount namespace, the pod's others, and the pid namespace by mode. */
export function ociNamespaces(
  pod: PodView,
  pid: NamespaceMode,
  targetPid: number | undefined,
  cgroupNamespace: boolean,
): OciLinux['namespaces'] {
  const namespaces: OciLinux['namespaces'] = [{ type: 'mount' }];
  const join = (type: string, path: string | undefined) => {
    if (path !== undefined) namespaces.push({ type, path });
  };
  join('user', pod.pins.user);
  join('network', pod.pins.net);
  join('ipc', pod.pins.ipc);
  join('uts', pod.pins.uts);
  if (pid === 'pod') join('pid', pod.pins.pid);
  if (pid === 'container') namespaces.push({ type: 'pid' });
  if (pid === 'target' && targetPid !== undefined) join('pid', `/proc/${targetPid}/ns/pid`);
  if (cgroupNamespace) namespaces.push({ type: 'cgroup' });
  return namespaces;
}
