/**
 * Joins pods to a bridge of the node, in the order and with the settings of the CNI plugin `bridge` 1.1.1, so that
 * the result is the same. Synchronous; for the namespace worker.
 */
import { CrispError } from '#core/errors.ts';
import type { NamespaceThread } from '../namespace/setns.ts';
import type { JoinedBridge, JoinRequest, LeaveRequest } from '../ports/kernel.ts';
import { formatIp, widthOf } from './ip-address.ts';
import type { Removable } from './link-removal.ts';
import { NETLINK_ROUTE, openNetlink } from './netlink.ts';
import { addPair, allowIpv6, allowLocalnet, forward, mustFind, requireIp, trySysctl } from './pod-end.ts';
import { type FoundLink, LOOPBACK, type Prefixed, RtnetlinkSocket } from './rtnetlink.ts';

/** Whether the pod's port carries frames by now. */
export interface PortState {
  readonly carries: boolean;
}

/** Makes what is missing of bridge, pair, addresses and routes. What it leaves at a failure, `leave` removes. */
export function join(thread: NamespaceThread, request: JoinRequest): JoinedBridge & PortState {
  using links = new RtnetlinkSocket();
  const bridge = prepareBridge(links, request);
  const nodeName = addPair(links, request);
  const port = mustFind(links, nodeName);
  links.setUp(port.index);
  trySysctl(`ipv6/conf/${nodeName}/accept_ra`, '0');
  links.setMaster(port.index, bridge.index);
  if (request.hairpin) links.setHairpin(port.index, true);
  const podMac = thread.inNetwork(request.netns, () => configurePod(request));
  addGateways(links, request);
  if (request.localnet !== undefined) allowLocalnet(links, requireIp(request.localnet));
  // The bridge takes the lowest address of its ports until it is given one of its own.
  const { mac: bridgeMac } = mustFind(links, request.bridge);
  return { bridgeMac, nodeName, nodeMac: port.mac, podMac, carries: carries(links, nodeName) };
}

/** Takes loopback down and finds the pod's end of the pair, which is to be removed; undefined where it is gone. */
export function prepareLeave(
  thread: NamespaceThread,
  { netns, interfaceName, loopback }: LeaveRequest,
): Removable | undefined {
  return thread.inNetwork(netns, () => {
    using links = new RtnetlinkSocket();
    if (loopback) links.setUp(LOOPBACK, false);
    const found = links.find(interfaceName);
    return found && { index: found.index, socket: openNetlink(NETLINK_ROUTE) };
  });
}

/** Whether the pod has a link of that name. */
export const hasLink = (
  thread: NamespaceThread,
  { netns, interfaceName }: Pick<LeaveRequest, 'netns' | 'interfaceName'>,
): boolean =>
  thread.inNetwork(netns, () => {
    using links = new RtnetlinkSocket();
    return links.find(interfaceName) !== undefined;
  });

/** Whether a link of the node carries frames; false where it is gone. */
export function carriesFrames(name: string): boolean {
  using links = new RtnetlinkSocket();
  return carries(links, name);
}

const carries = (links: RtnetlinkSocket, name: string): boolean => links.find(name)?.up ?? false;

function prepareBridge(links: RtnetlinkSocket, { bridge, mtu }: JoinRequest): FoundLink {
  let found = links.find(bridge);
  if (!found) {
    links.addBridge(bridge, mtu);
    found = mustFind(links, bridge);
  }
  if (found.kind !== 'bridge') {
    throw new CrispError('NetworkFailed', `the link ${bridge} exists but is not a bridge`, {
      hint: 'name another bridge in the CNI configuration, or remove that link',
    });
  }
  // Routes are the CNI's: what a router advertises must not add to them.
  trySysctl(`ipv6/conf/${bridge}/accept_ra`, '0');
  links.setUp(found.index);
  return found;
}

/** In the pod's namespace. Returns the address of its link. */
function configurePod({ interfaceName, addresses, routes, loopback }: JoinRequest): string {
  using links = new RtnetlinkSocket();
  if (loopback) links.setUp(LOOPBACK);
  const link = mustFind(links, interfaceName);
  // Addresses are host-local's to give: the kernel need not probe for duplicates.
  trySysctl(`ipv6/conf/${interfaceName}/accept_dad`, '0');
  trySysctl(`ipv4/conf/${interfaceName}/arp_notify`, '1');
  for (const { address, prefixLength } of addresses) {
    const ip = requireIp(address);
    if (ip.family === 6) for (const name of ['lo', interfaceName]) allowIpv6(name);
    links.addAddress(link.index, { ip, prefixLength });
  }
  links.setUp(link.index);
  for (const { destination, prefixLength, gateway } of routes) {
    links.addRoute(link.index, { ip: requireIp(destination), prefixLength }, { gateway: requireIp(gateway) });
  }
  return link.mac;
}

/** Makes the bridge the pods' router. */
function addGateways(links: RtnetlinkSocket, { bridge, gateways, forceAddress }: JoinRequest): void {
  for (const { address, prefixLength } of gateways) {
    const ip = requireIp(address);
    const { index, mac } = mustFind(links, bridge);
    const wanted = { ip, prefixLength };
    if (!hasAddress(links, { index, name: bridge }, wanted, forceAddress)) {
      links.addAddress(index, wanted);
      links.setMac(index, mac); // its own from now on, so that it does not change with the ports
    }
    forward(ip.family);
  }
}

/** An address with which this one would clash, any of IPv4, an overlapping one of IPv6, is removed with `force`; else it throws. */
function hasAddress(
  links: RtnetlinkSocket,
  { index, name }: { readonly index: number; readonly name: string },
  wanted: Prefixed,
  force: boolean,
): boolean {
  const same = links.addresses(index).filter(({ ip }) => ip.family === wanted.ip.family);
  const isWanted = ({ ip, prefixLength }: Prefixed) =>
    ip.value === wanted.ip.value && prefixLength === wanted.prefixLength;
  if (!force && same.some(isWanted)) return true;
  for (const other of same) {
    if (isWanted(other)) return true;
    if (other.ip.family === 6 && !overlap(other, wanted)) continue;
    if (!force) throw clash(name, other, wanted);
    links.removeAddress(index, other);
  }
  return false;
}

function clash(bridge: string, other: Prefixed, wanted: Prefixed): CrispError {
  const [has, due] = [other, wanted].map(({ ip, prefixLength }) => `${formatIp(ip)}/${prefixLength}`);
  return new CrispError('NetworkFailed', `the bridge ${bridge} has the address ${has} instead of ${due}`, {
    hint: 'remove that address, give this network another bridge, or set forceAddress in its CNI configuration',
  });
}

function overlap(one: Prefixed, other: Prefixed): boolean {
  const shift = BigInt(widthOf(one.ip.family) - Math.min(one.prefixLength, other.prefixLength));
  return one.ip.value >> shift === other.ip.value >> shift;
}
