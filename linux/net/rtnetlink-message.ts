/** The parts of rtnetlink's messages: their numbers, their fixed headers, and addresses as attributes. */
import { type IpAddress, ipBytes } from './ip-address.ts';
import { attribute } from './netlink.ts';

export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_SETLINK = 19;
export const RTM_NEWADDR = 20;
export const RTM_DELADDR = 21;
export const RTM_GETADDR = 22;
export const RTM_NEWROUTE = 24;
export const RTM_DELROUTE = 25;
export const RTM_GETROUTE = 26;
export const AF = { 4: 2, 6: 10, bridge: 7 };
export const IFF_UP = 1;
export const IFF_PROMISC = 0x100;
export const IFF_ALLMULTI = 0x200;
export const IFLA = {
  address: 1,
  name: 3,
  mtu: 4,
  master: 10,
  protinfo: 12,
  queue: 13,
  operstate: 16,
  info: 18,
  namespace: 28,
  promiscuity: 30,
};
/** In IFLA's `info`. */
export const INFO_KIND = 1;
export const IFA = { address: 1, local: 2, broadcast: 4 };
export const RTA = { destination: 1, interface: 4, gateway: 5, source: 7, multipath: 9, via: 18 };
export const LINK_HEADER = 16;
export const ADDRESS_HEADER = 8;
export const ROUTE_HEADER = 12;
export const MAIN_TABLE = 254;
/** Of routes. */
export const UNICAST = 1;

/** An address with the length of its network's prefix. */
export interface Prefixed {
  readonly ip: IpAddress;
  readonly prefixLength: number;
}

/** With the broadcast address that IPv4 has in networks of more than two addresses. */
export function addressParts(index: number, { ip, prefixLength }: Prefixed): Buffer[] {
  const head = Buffer.alloc(ADDRESS_HEADER);
  head[0] = AF[ip.family];
  head[1] = prefixLength;
  head.writeUInt32LE(index, 4);
  const parts = [head, attribute(IFA.local, ipBytes(ip)), attribute(IFA.address, ipBytes(ip))];
  if (ip.family === 6 || prefixLength >= 31) return parts;
  const last = ip.value | ((1n << BigInt(32 - prefixLength)) - 1n);
  return [...parts, attribute(IFA.broadcast, ipBytes({ family: 4, value: last }))];
}

/** Of the main table. */
export const routeHeader = (
  { ip, prefixLength }: Prefixed,
  protocol: number,
  scope: number,
  type: number,
): Buffer => Buffer.from([AF[ip.family], prefixLength, 0, 0, MAIN_TABLE, protocol, scope, type, 0, 0, 0, 0]);

/** Of a link. */
export function header(index: number, flags = 0, change = 0): Buffer {
  const bytes = Buffer.alloc(LINK_HEADER);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(flags, 8);
  bytes.writeUInt32LE(change, 12);
  return bytes;
}
