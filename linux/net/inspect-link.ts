/** Reads a link inside a pod, with its addresses and routes. Synchronous; for the namespace worker. */
import type { NamespaceThread } from '../namespace/setns.ts';
import type { InspectRequest, PodLink } from '../ports/kernel.ts';
import { formatIp } from './ip-address.ts';
import { setting } from './pod-end.ts';
import { type Prefixed, RtnetlinkSocket } from './rtnetlink.ts';

/** undefined where the pod has no such link. */
export const inspectLink = (
  thread: NamespaceThread,
  { netns, interfaceName, sysctls = [] }: InspectRequest,
): PodLink | undefined =>
  thread.inNetwork(netns, () => {
    using links = new RtnetlinkSocket();
    const link = links.find(interfaceName);
    if (!link) return undefined;
    const { mac, up, index, mtu, promiscuous, allMulticast } = link;
    return {
      mac,
      up,
      mtu,
      promiscuous,
      allMulticast,
      sysctls: Object.fromEntries(sysctls.map((key) => [key, trySetting(key)])),
      addresses: links.addresses(index).map(text),
      routes: links.routes(index).map(({ to, gateway }) => ({
        to: text(to),
        gateway: gateway && formatIp(gateway),
      })),
    };
  });

/** Some can only be written. */
function trySetting(key: string): string | undefined {
  try {
    return setting(key);
  } catch {
    return undefined;
  }
}

const text = ({ ip, prefixLength }: Prefixed): string => `${formatIp(ip)}/${prefixLength}`;
