/** IP addresses as numbers and bytes. Addresses of IPv4 mapped into IPv6, and zones, are not taken. */
import { isIP } from 'node:net';

export interface IpAddress {
  readonly family: 4 | 6;
  readonly value: bigint;
}

/** Bits of an address. */
export const widthOf = (family: 4 | 6): 32 | 128 => (family === 4 ? 32 : 128);

/** undefined where the text is not an address. */
export function parseIp(text: string): IpAddress | undefined {
  const family = isIP(text);
  if (family === 4) {
    return { family, value: text.split('.').reduce((sum, part) => (sum << 8n) | BigInt(part), 0n) };
  }
  if (family !== 6 || text.includes('%')) return undefined;
  const [head = '', tail] = canonical(text).split('::');
  const groups = (part: string | undefined) => (part ? part.split(':') : []);
  const before = groups(head);
  const after = groups(tail);
  const zeros = Array.from({ length: 8 - before.length - after.length }, () => '0');
  const hex = [...before, ...zeros, ...after].map((group) => group.padStart(4, '0')).join('');
  const value = BigInt(`0x${hex}`);
  return value >> 32n === 0xffffn ? undefined : { family, value };
}

/** The canonical text: lower case, the longest run of zeros shortened (RFC 5952). */
export function formatIp({ family, value }: IpAddress): string {
  if (family === 4) return [24n, 16n, 8n, 0n].map((shift) => (value >> shift) & 255n).join('.');
  const hex = value.toString(16).padStart(32, '0');
  return canonical((hex.match(/.{4}/g) ?? []).join(':'));
}

/** In network order: 4 or 16. */
export const ipBytes = ({ family, value }: IpAddress): Buffer =>
  Buffer.from(value.toString(16).padStart(widthOf(family) / 4, '0'), 'hex');

const canonical = (text: string): string => new URL(`http://[${text}]`).hostname.slice(1, -1);
