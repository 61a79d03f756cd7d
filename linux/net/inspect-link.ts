/** Reads a link inside a pod, with its addresses and routes. Synchronous; for the namespace worker. */
import type { NamespaceThread } from '../namespace/setns.ts';
import type { LeaveRequest, PodLink } from '../ports/kernel.ts';
import { formatIp } from './ip-address.ts';
import { type Prefixed, RtnetlinkSocket } from './rtnetlink.ts';

/** undefined where the pod has no such link. */
export const inspectLink = (
  thread: NamespaceThread,
  { netns, interfaceName }: Pick<LeaveRequest, 'netns' | 'interfaceName'>,
): PodLink | undefined =>
  thread.inNetwork(netns, () => {
    using links = new RtnetlinkSocket();
    const link = links.find(interfaceName);
    if (!link) return undefined;
    const { mac, up, index } = link;
    return {
      mac,
      up,
      addresses: links.addresses(index).map(text),
      routes: links.routes(index).map(({ to, gateway }) => ({
        to: text(to),
        gateway: gateway && formatIp(gateway),
      })),
    };
  });

const text = ({ ip, prefixLength }: Prefixed): string => `${formatIp(ip)}/${prefixLength}`;
