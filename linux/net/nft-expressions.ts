/** The expressions of nf_tables that rules of pods consist of, as iptables 1.8.9 and nft 1.0.6 write them. */
import { type IpAddress, ipBytes, widthOf } from './ip-address.ts';
import { attribute, attributesOf, nested, textAttribute, textOf } from './netlink.ts';

const ELEMENT = 1;
const NAME = 1;
const CONTENT = 2;
const VALUE = 1;
const VERDICT = 2;
const VERDICT_CODE = 1;
const VERDICT_CHAIN = 2;
const REGISTER = 1;
const NETWORK_HEADER = 1;
/** The offsets of source and destination in the header of each family. */
const OFFSET = { 4: { source: 12, destination: 16 }, 6: { source: 8, destination: 24 } };
const COMMENT_BYTES = 256;
/** The settings of MASQUERADE: no ports and no flags; IPv4 counts its ranges. */
const NO_SETTINGS = { 4: Buffer.concat([Buffer.of(1), Buffer.alloc(23)]), 6: Buffer.alloc(40) };

export const ACCEPT = 1;
export const JUMP = -3;
export const GOTO = -4;
export const RETURN = -5;

/** All numbers of nf_tables are in network order. */
export function number(type: number, value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeInt32BE(value);
  return attribute(type, bytes);
}

export const value = (type: number, bytes: Uint8Array): Buffer => nested(type, attribute(VALUE, bytes));

export const expression = (name: string, ...content: readonly Buffer[]): Buffer =>
  nested(ELEMENT, textAttribute(NAME, name), nested(CONTENT, ...content));

/** Whole bytes of a prefix are compared as they are, others behind a mask. */
export function matchAddress(
  side: 'source' | 'destination',
  ip: IpAddress,
  prefixLength: number,
  unequal = false,
): Buffer[] {
  const { family } = ip;
  const bits = BigInt(widthOf(family) - prefixLength);
  const prefix = (all: bigint): Buffer => ipBytes({ family, value: (all >> bits) << bits });
  const whole = prefixLength % 8 === 0;
  const length = whole ? prefixLength / 8 : widthOf(family) / 8;
  const place = [number(2, NETWORK_HEADER), number(3, OFFSET[family][side]), number(4, length)];
  const load = expression('payload', number(1, REGISTER), ...place);
  const mask = prefix((1n << BigInt(widthOf(family))) - 1n);
  const parts = [number(3, length), number(6, 0), value(4, mask), value(5, Buffer.alloc(length))];
  const masked = expression('bitwise', number(1, REGISTER), number(2, REGISTER), ...parts);
  const wanted = prefix(ip.value).subarray(0, length);
  const compare = expression('cmp', number(1, REGISTER), number(2, unequal ? 1 : 0), value(3, wanted));
  return whole ? [load, compare] : [load, masked, compare];
}

export function comment(text: string): Buffer {
  const bytes = Buffer.alloc(COMMENT_BYTES);
  bytes.write(text, 0, COMMENT_BYTES - 1, 'latin1');
  return expression('match', textAttribute(1, 'comment'), number(2, 0), attribute(3, bytes));
}

export const counter = (): Buffer =>
  expression('counter', attribute(1, Buffer.alloc(8)), attribute(2, Buffer.alloc(8)));

export const masquerade = (family: 4 | 6): Buffer =>
  expression('target', textAttribute(1, 'MASQUERADE'), number(2, 0), attribute(3, NO_SETTINGS[family]));

/** The end of a rule; a jump names its chain. */
export function verdict(
  code: typeof ACCEPT | typeof JUMP | typeof GOTO | typeof RETURN,
  chain?: string,
): Buffer {
  const target = chain === undefined ? [] : [textAttribute(VERDICT_CHAIN, chain)];
  return expression(
    'immediate',
    number(1, 0),
    nested(2, nested(VERDICT, number(VERDICT_CODE, code), ...target)),
  );
}

/** The chain that an expression of a dumped rule jumps to; empty where it jumps nowhere. */
export function jumpOf(element: Buffer): string {
  const { [NAME]: name, [CONTENT]: content } = fields(element);
  if (textOf(name) !== 'immediate') return '';
  const { [VERDICT]: found } = fields(fields(content)[CONTENT]);
  return textOf(fields(found)[VERDICT_CHAIN]);
}

const fields = (bytes: Buffer | undefined): Readonly<Record<number, Buffer | undefined>> =>
  Object.fromEntries(attributesOf(bytes ?? Buffer.alloc(0)));
