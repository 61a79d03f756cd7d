/** The parts of rtnetlink's messages: their fixed headers, and addresses as attributes. */
import { type IpAddress, ipBytes } from './ip-address.ts';
import { attribute } from './netlink.ts';

export const AF = { 4: 2, 6: 10, bridge: 7 };
export const IFA = { address: 1, local: 2, broadcast: 4 };
export const LINK_HEADER = 16;
export const ADDRESS_HEADER = 8;
export const MAIN_TABLE = 254;

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
