/** Links and addresses of the network namespace of the calling thread. */
import { Netlink, NLM_F_ACK, NLM_F_DUMP, parseAttributes } from './netlink.ts';

const RTM_NEWLINK = 16;
const RTM_GETLINK = 18;
const RTM_GETADDR = 22;
const IFF_UP = 1;
const IFLA_IFNAME = 3;
const IFA_ADDRESS = 1;
const IFA_LOCAL = 2;
const LINK_HEADER = 16;
const ADDRESS_HEADER = 8;
const AF_INET = 2;
/** Every network namespace is born with a loopback of this index. */
const LOOPBACK = 1;

export interface Link {
  readonly index: number;
  readonly name: string;
  readonly up: boolean;
}

export interface Address {
  readonly family: 4 | 6;
  readonly address: string;
  readonly prefixLength: number;
}

/** Brings loopback up; the kernel then gives it 127.0.0.1 and, where there is IPv6, ::1. */
export function bringLoopbackUp(): void {
  using netlink = new Netlink();
  const body = Buffer.alloc(LINK_HEADER);
  body.writeInt32LE(LOOPBACK, 4);
  body.writeUInt32LE(IFF_UP, 8);
  body.writeUInt32LE(IFF_UP, 12);
  netlink.request('bring loopback up', RTM_NEWLINK, NLM_F_ACK, body);
}

/** All links. */
export function listLinks(): Link[] {
  using netlink = new Netlink();
  const answers = netlink.request('list links', RTM_GETLINK, NLM_F_DUMP, Buffer.alloc(LINK_HEADER));
  return answers.map(({ body }) => ({
    index: body.readInt32LE(4),
    name: text(parseAttributes(body, LINK_HEADER).get(IFLA_IFNAME)),
    up: (body.readUInt32LE(8) & IFF_UP) !== 0,
  }));
}

/** The addresses of a link, in the kernel's order. */
export function listAddresses(index: number): Address[] {
  using netlink = new Netlink();
  const answers = netlink.request('list addresses', RTM_GETADDR, NLM_F_DUMP, Buffer.alloc(ADDRESS_HEADER));
  return answers
    .filter(({ body }) => body.readUInt32LE(4) === index)
    .map(({ body }) => {
      const attributes = parseAttributes(body, ADDRESS_HEADER);
      const bytes = attributes.get(IFA_LOCAL) ?? attributes.get(IFA_ADDRESS) ?? Buffer.alloc(0);
      const family = body[0] === AF_INET ? 4 : 6;
      return { family, address: family === 4 ? bytes.join('.') : ipv6(bytes), prefixLength: body[1] ?? 0 };
    });
}

const text = (bytes: Buffer | undefined): string => bytes?.toString('utf8').replace(/\0.*$/s, '') ?? '';

/** The canonical form: lower case, the longest run of zeros shortened. */
function ipv6(bytes: Buffer): string {
  const groups = Array.from({ length: 8 }, (_, n) => bytes.readUInt16BE(n * 2).toString(16));
  return new URL(`http://[${groups.join(':')}]`).hostname.slice(1, -1);
}
