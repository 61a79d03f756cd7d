/**
 * Joins pods to a bridge of the node, in the order and with the settings of the CNI plugin `bridge` 1.1.1, so that
 * the result is the same. Synchronous; for the namespace worker.
 */
import { randomBytes } from 'node:crypto';
import { readFileSync, writeFileSync } from 'node:fs';
import { CrispError, errnoOf } from '#core/errors.ts';
import { namingSync } from '../libc/errno.ts';
import { type NamespaceThread, OpenFile } from '../namespace/setns.ts';
import type { JoinedBridge, JoinRequest, LeaveRequest } from '../ports/kernel.ts';
import { formatIp, type IpAddress, parseIp, widthOf } from './ip-address.ts';
import type { Removable } from './link-removal.ts';
import { NETLINK_ROUTE, openNetlink } from './netlink.ts';
import { type FoundLink, LOOPBACK, type Prefixed, RtnetlinkSocket } from './rtnetlink.ts';

/** Whether the pod's port carries frames by now. */
export interface PortState {
  readonly carries: boolean;
}

/** How many random names are tried. */
const NAMES = 10;

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

/** Returns the name of the node's end. */
function addPair(links: RtnetlinkSocket, { netns, interfaceName, mtu }: JoinRequest): string {
  using namespace = new OpenFile(netns);
  for (let left = NAMES; ; left--) {
    const name = `veth${randomBytes(4).toString('hex')}`;
    try {
      links.addVeth({ name, peer: interfaceName, peerNamespace: namespace.fd, mtu });
      return name;
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST' || left === 1) throw error;
      if (links.find(name)) continue;
      throw new CrispError('NetworkFailed', `the pod has a link ${interfaceName} already`, { cause: error });
    }
  }
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
    links.addRoute(link.index, { ip: requireIp(destination), prefixLength }, requireIp(gateway));
  }
  return link.mac;
}

function allowIpv6(name: string): void {
  const key = `ipv6/conf/${name}/disable_ipv6`;
  if (setting(key) === '1') set(key, '0');
}

/** Makes the bridge the pods' router. */
function addGateways(links: RtnetlinkSocket, { bridge, gateways }: JoinRequest): void {
  for (const { address, prefixLength } of gateways) {
    const ip = requireIp(address);
    const { index, mac } = mustFind(links, bridge);
    if (!hasAddress(links.addresses(index), { ip, prefixLength }, bridge)) {
      links.addAddress(index, { ip, prefixLength });
      links.setMac(index, mac); // its own from now on, so that it does not change with the ports
    }
    const key = ip.family === 4 ? 'ipv4/ip_forward' : 'ipv6/conf/all/forwarding';
    if (setting(key) !== '1') set(key, '1');
  }
}

/** Throws where the bridge has an address with which this one would clash: any of IPv4, an overlapping one of IPv6. */
function hasAddress(present: readonly Prefixed[], wanted: Prefixed, bridge: string): boolean {
  const same = present.filter(({ ip }) => ip.family === wanted.ip.family);
  if (
    same.some(({ ip, prefixLength }) => ip.value === wanted.ip.value && prefixLength === wanted.prefixLength)
  ) {
    return true;
  }
  const clash = same.find((other) => other.ip.family === 4 || overlap(other, wanted));
  if (!clash) return false;
  const [has, due] = [clash, wanted].map(({ ip, prefixLength }) => `${formatIp(ip)}/${prefixLength}`);
  throw new CrispError('NetworkFailed', `the bridge ${bridge} has the address ${has} instead of ${due}`, {
    hint: 'remove that address, or give this network another bridge',
  });
}

function overlap(one: Prefixed, other: Prefixed): boolean {
  const shift = BigInt(widthOf(one.ip.family) - Math.min(one.prefixLength, other.prefixLength));
  return one.ip.value >> shift === other.ip.value >> shift;
}

/** Lets what comes from 127.0.0.0/8 be forwarded to the pod: for host ports on localhost. */
function allowLocalnet(links: RtnetlinkSocket, pod: IpAddress): void {
  const index = links.linkTo(pod);
  if (index !== undefined) set(`ipv4/conf/${links.nameOf(index)}/route_localnet`, '1');
}

function mustFind(links: RtnetlinkSocket, name: string): FoundLink {
  const found = links.find(name);
  if (found) return found;
  throw new CrispError('NetworkFailed', `the link ${name} is gone`, {
    hint: 'see which other program changes the links of this node',
  });
}

function requireIp(text: string): IpAddress {
  const ip = parseIp(text);
  if (ip) return ip;
  throw new CrispError('InvalidArgument', `${JSON.stringify(text)} is not an IP address`);
}

const path = (key: string): string => `/proc/sys/net/${key}`;
const setting = (key: string): string =>
  namingSync(`read sysctl ${key}`, () => readFileSync(path(key), 'utf8').trim());
const set = (key: string, value: string): void =>
  namingSync(`set sysctl ${key} to ${value}`, () => writeFileSync(path(key), value, { flag: 'r+' }));

/** For settings that a kernel may lack. */
function trySysctl(key: string, value: string): void {
  try {
    set(key, value);
  } catch {
    // A kernel without IPv6 has no such key, and nothing for it to prevent.
  }
}
