import type { Labels } from '../config.ts';

/** What crun obeys: a client that could set it would replace filters, or run a program of the node as a hook. */
const COMMANDS = 'run.oci.';

/**
 * The client's annotations that the OCI runtime gets to see: those whose key begins with one of the handler's prefixes,
 * the container's before the pod's. `run.oci.*` never passes, whatever is allowed.
 */
export function passedAnnotations(
  pod: Labels,
  container: Labels,
  allowed: readonly string[],
): Record<string, string> {
  const passes = ([key]: [string, string]): boolean =>
    !key.startsWith(COMMANDS) && allowed.some((prefix) => prefix !== '' && key.startsWith(prefix));
  return Object.fromEntries([...Object.entries(pod), ...Object.entries(container)].filter(passes));
}

/** Whether a container's `cgroupsPath` is systemd's `slice:prefix:name`, and no path. */
export const isUnit = (cgroupsPath: string): boolean => !cgroupsPath.startsWith('/');

/**
 * Older versions of crun (1.8) put the limits on a group of their own below the container's scope unless told otherwise:
 * they belong on the scope, where the kubelet and `systemd-cgtop` look for them.
 */
export const unitAnnotations = (cgroupsPath: string): Record<string, string> =>
  isUnit(cgroupsPath) ? { 'run.oci.systemd.subgroup': '' } : {};
