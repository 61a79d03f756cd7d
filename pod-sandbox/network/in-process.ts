/**
 * Whether crisp makes a pod's attachment in its own process (bridge/) or executes the CNI plugins. Decided before ADD and
 * recorded as the attachment's `way`, which later calls, DEL among them, pass in.
 */
import { parseIp } from '#linux/net/ip-address.ts';
import type { CniMode } from '../options.ts';
import { bridgePlan } from './bridge/plan.ts';
import { publishedPorts } from './bridge/request.ts';
import type { Attachment } from './cni/attachment.ts';

/**
 * `mode`: the option cni.native, or the recorded way. A recorded configuration that this version of crisp no longer
 * supports is undone by the plugins.
 */
export const isInProcess = (
  mode: CniMode | Attachment['way'],
  { config, capabilities }: Pick<Attachment, 'config' | 'capabilities'>,
): boolean =>
  (mode === 'auto' || mode === 'native') &&
  bridgePlan(config) !== undefined &&
  publishedPorts(capabilities).every(
    ({ hostIP, protocol }) =>
      ['tcp', 'udp', 'sctp'].includes(protocol) && (hostIP === undefined || parseIp(hostIP)),
  );
