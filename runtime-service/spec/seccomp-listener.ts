/**
 * SCMP_ACT_NOTIFY: the OCI runtime sends the filter's descriptor to an agent of the node, which then answers for the calls
 * (runtime-spec, config-linux.md; seccomp_unotify(2)). It connects at the start of the container and at each exec.
 */
import type { OciSeccomp } from './oci.ts';
import type { SeccompProfile } from './seccomp-profile.ts';

const NOTIFY = 'SCMP_ACT_NOTIFY';
/** `sun_path` with its final NUL (unix(7)). */
const MAX_SOCKET = 107;

/** Whether a call is left to an agent. */
export const notifies = ({ defaultAction, syscalls = [] }: OciSeccomp): boolean =>
  defaultAction === NOTIFY || syscalls.some(({ action }) => action === NOTIFY);

/**
 * The rules with the profile's listener, where one is needed. `refuse` is called for what no OCI runtime can set up: it notifies
 * the agent itself under the filter, by write(2) among others.
 */
export function withListener(
  rules: OciSeccomp,
  { listenerPath, listenerMetadata }: Pick<SeccompProfile, 'listenerPath' | 'listenerMetadata'>,
  refuse: (why: string) => never,
): OciSeccomp {
  if (!notifies(rules)) return rules;
  if (rules.defaultAction === NOTIFY) return refuse(`${NOTIFY} cannot be its defaultAction`);
  if (rules.syscalls?.some(({ action, names }) => action === NOTIFY && names.includes('write')))
    return refuse(`${NOTIFY} cannot be the action of write`);
  const path: unknown = listenerPath ?? '';
  if (typeof path !== 'string' || !path.startsWith('/') || path.includes('\0'))
    return refuse(`${NOTIFY} needs a listenerPath, the absolute path of an agent's socket`);
  if (Buffer.byteLength(path) > MAX_SOCKET)
    return refuse(`its listenerPath is longer than ${MAX_SOCKET} bytes`);
  const metadata: unknown = listenerMetadata ?? '';
  if (typeof metadata !== 'string') return refuse('its listenerMetadata is not a string');
  return { ...rules, listenerPath: path, ...(metadata === '' ? {} : { listenerMetadata: metadata }) };
}
