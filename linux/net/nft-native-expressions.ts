/** The expressions that nft 1.0.6 writes where iptables has extensions of its own: ports, marks, NAT, kinds of addresses. */
import { type IpAddress, ipBytes } from './ip-address.ts';
import { attribute } from './netlink.ts';
import { expression, number, value } from './nft-expressions.ts';
import { FAMILY } from './nft-messages.ts';

/** The registers of 16 bytes. */
const REGISTER = 1;
const SECOND_REGISTER = 2;
const TRANSPORT_HEADER = 2;
/** Of TCP, UDP and SCTP alike. */
const DESTINATION_PORT = { offset: 2, length: 2 };
const META = { mark: 3, nfproto: 15, l4proto: 16 };
export const PROTOCOL = { tcp: 6, udp: 17, sctp: 132 } as const;
const FIB = { addressType: 3, ofDestination: 2 };
/** A kind of address, RTN_LOCAL: one of the node. */
const LOCAL = 2;
const DESTINATION_NAT = 1;

const load = (key: number): Buffer => expression('meta', number(1, REGISTER), number(2, key));
const equals = (bytes: Uint8Array): Buffer =>
  expression('cmp', number(1, REGISTER), number(2, 0), value(3, bytes));
const immediate = (register: number, bytes: Uint8Array): Buffer =>
  expression('immediate', number(1, register), value(2, bytes));

/** `meta nfproto`: needed before a match of an address in a table of both families. */
export const matchFamily = (family: 4 | 6): Buffer[] => [
  load(META.nfproto),
  equals(Buffer.of(FAMILY[family])),
];

/** `tcp dport N` */
export const matchPort = (protocol: keyof typeof PROTOCOL, port: number): Buffer[] => [
  load(META.l4proto),
  equals(Buffer.of(PROTOCOL[protocol])),
  expression(
    'payload',
    number(1, REGISTER),
    number(2, TRANSPORT_HEADER),
    number(3, DESTINATION_PORT.offset),
    number(4, DESTINATION_PORT.length),
  ),
  equals(portBytes(port)),
];

/** `fib daddr type local` */
export const matchLocal = (): Buffer[] => [
  expression('fib', number(1, REGISTER), number(2, FIB.addressType), number(3, FIB.ofDestination)),
  equals(hostOrder(LOCAL)),
];

/** `meta mark & BIT == BIT` */
export const matchMark = (bit: number): Buffer[] => [
  load(META.mark),
  bitwise(hostOrder(bit), hostOrder(0)),
  equals(hostOrder(bit)),
];

/** `meta mark set meta mark | BIT` */
export const setMark = (bit: number): Buffer[] => [
  load(META.mark),
  bitwise(hostOrder(~bit >>> 0), hostOrder(bit)),
  expression('meta', number(2, META.mark), number(3, REGISTER)),
];

/** `masquerade` */
export const masquerade = (): Buffer => expression('masq');

/** `dnat to IP:PORT` */
export const destinationNat = (to: IpAddress, port: number): Buffer[] => [
  immediate(REGISTER, ipBytes(to)),
  immediate(SECOND_REGISTER, portBytes(port)),
  expression(
    'nat',
    number(1, DESTINATION_NAT),
    number(2, FAMILY[to.family]),
    number(3, REGISTER),
    number(5, SECOND_REGISTER),
  ),
];

/** (mark & `mask`) ^ `xor` */
function bitwise(mask: Buffer, xor: Buffer): Buffer {
  const length = number(3, mask.length);
  return expression(
    'bitwise',
    number(1, REGISTER),
    number(2, REGISTER),
    length,
    number(6, 0),
    value(4, mask),
    value(5, xor),
  );
}

function portBytes(port: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16BE(port);
  return bytes;
}

/** What the kernel itself has computed is in the machine's order, as everywhere in this folder: little-endian. */
function hostOrder(number: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(number);
  return bytes;
}

/** A text for people or programs, which the kernel keeps with a table, chain or rule: type, length, text. */
export function userData(
  type: number,
  ...entries: readonly (readonly [kind: number, text: string])[]
): Buffer {
  const parts = entries.map(([kind, text]) => {
    const bytes = Buffer.from(`${text}\0`);
    return Buffer.concat([Buffer.of(kind, bytes.length), bytes]);
  });
  return attribute(type, Buffer.concat(parts));
}

/** The texts by their types. */
export function textsOf(data: Buffer | undefined): Map<number, string> {
  const texts = new Map<number, string>();
  if (!data) return texts;
  for (let at = 0; at + 2 <= data.length; ) {
    const [kind = 0, length = 0] = [data[at], data[at + 1]];
    texts.set(kind, data.toString('utf8', at + 2, at + 2 + length).replace(/\0.*$/s, ''));
    at += 2 + length;
  }
  return texts;
}
