/**
 * Values of the D-Bus protocol and their bytes (dbus-specification, "Type System" and "Marshaling"). A value's shape
 * follows its signature:
 *
 *     y n q i u d  number      x t  bigint      b  boolean      s o g  string
 *     a…  array    (…)  array, one entry a member    {kv}  array of two    v  Variant
 */
import { CrispError } from '#core/errors.ts';
import type { DBusValue, Variant } from '../ports/systemd-units.ts';

export type { DBusValue, Variant } from '../ports/systemd-units.ts';

/** The specification allows 2^26; no message between crisp and systemd comes near this. */
const MAX_ARRAY = 1 << 20;
const MAX_DEPTH = 32;

const alignments: Readonly<Record<string, number>> = {
  ...{ y: 1, g: 1, v: 1, n: 2, q: 2, i: 4, u: 4, b: 4, s: 4, o: 4, a: 4 },
  ...{ x: 8, t: 8, d: 8, '(': 8, '{': 8 },
};

const sizes: Readonly<Record<string, number>> = { y: 1, n: 2, q: 2, i: 4, u: 4, x: 8, t: 8, d: 8 };

/** An error of the other side, or of a caller's types: the message is unusable. */
export const malformed = (what: string): CrispError =>
  new CrispError('Internal', `D-Bus: ${what}`, {
    hint: 'report it with the versions of dbus and systemd',
  });

/** Splits a signature into its complete types: `sa(sv)u` into `s`, `a(sv)`, `u`. Throws where it is malformed. */
export function completeTypes(signature: string): string[] {
  const types: string[] = [];
  for (let at = 0; at < signature.length; ) {
    const end = typeEnd(signature, at, 0);
    types.push(signature.slice(at, end));
    at = end;
  }
  return types;
}

/** The index behind the complete type that begins at `at`. */
function typeEnd(signature: string, at: number, depth: number): number {
  const code = signature[at] ?? '';
  if (depth > MAX_DEPTH || signature.length > 255) throw malformed('a signature is too deep or too long');
  if (code === 'a') return typeEnd(signature, at + 1, depth + 1);
  if (code !== '(' && code !== '{') {
    if (!/^[ybnqiuxtdsogv]$/.test(code)) throw malformed(`no type at ${at} of ${JSON.stringify(signature)}`);
    return at + 1;
  }
  const close = code === '(' ? ')' : '}';
  let end = at + 1;
  while (signature[end] !== close) end = typeEnd(signature, end, depth + 1);
  if (end === at + 1) throw malformed(`an empty struct in ${JSON.stringify(signature)}`);
  return end + 1;
}

/** The members of a struct's or a dictionary entry's type. */
const members = (type: string): string[] => completeTypes(type.slice(1, -1));

/** Collects bytes in the order of this machine's protocol: little endian. */
export class ValueWriter {
  #bytes = Buffer.alloc(256);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  bytes(): Buffer {
    return this.#bytes.subarray(0, this.#length);
  }

  align(to: number): void {
    this.#reserve(-this.#length & (to - 1));
  }

  /** Appends `size` zero bytes; returns their offset. */
  #reserve(size: number): number {
    const at = this.#length;
    this.#length += size;
    if (this.#length > this.#bytes.length) {
      const larger = Buffer.alloc(this.#length * 2);
      this.#bytes.copy(larger);
      this.#bytes = larger;
    }
    return at;
  }

  /** One value of a complete type. Throws where they do not fit together. */
  put(type: string, value: DBusValue): void {
    this.align(alignments[type[0] ?? ''] ?? 1);
    if (typeof value === 'number') this.#number(type, value);
    else if (typeof value === 'bigint') this.#wide(type, value);
    else if (typeof value === 'boolean') this.#number(type === 'b' ? 'u' : 'none', value ? 1 : 0);
    else if (typeof value === 'string') this.#text(type, value);
    else if ('type' in value) this.#variant(type, value);
    else this.#list(type, value);
  }

  #number(type: string, value: number): void {
    const at = this.#reserve(sizes[type] ?? 0);
    if (type === 'y') this.#bytes.writeUInt8(value, at);
    else if (type === 'n') this.#bytes.writeInt16LE(value, at);
    else if (type === 'q') this.#bytes.writeUInt16LE(value, at);
    else if (type === 'i') this.#bytes.writeInt32LE(value, at);
    else if (type === 'u') this.#bytes.writeUInt32LE(value, at);
    else if (type === 'd') this.#bytes.writeDoubleLE(value, at);
    else throw misfit(type, value);
  }

  #wide(type: string, value: bigint): void {
    const at = this.#reserve(sizes[type] ?? 0);
    if (type === 'x') this.#bytes.writeBigInt64LE(value, at);
    else if (type === 't') this.#bytes.writeBigUInt64LE(value, at);
    else throw misfit(type, value);
  }

  #text(type: string, value: string): void {
    if (!/^[sog]$/.test(type) || value.includes('\0')) throw misfit(type, value);
    const bytes = Buffer.from(value);
    this.#number(type === 'g' ? 'y' : 'u', bytes.length);
    const at = this.#reserve(bytes.length + 1);
    bytes.copy(this.#bytes, at);
  }

  #variant(type: string, { type: inner, value }: Variant): void {
    if (type !== 'v' || completeTypes(inner).length !== 1) throw misfit(type, inner);
    this.#text('g', inner);
    this.put(inner, value);
  }

  #list(type: string, values: readonly DBusValue[]): void {
    if (type[0] !== 'a') {
      const types = type[0] === '(' || type[0] === '{' ? members(type) : [];
      if (types.length === 0 || types.length !== values.length) throw misfit(type, values.length);
      for (const [index, member] of types.entries()) this.put(member, values[index] as DBusValue);
      return;
    }
    const element = type.slice(1);
    const at = this.#reserve(4);
    this.align(alignments[element[0] ?? ''] ?? 1);
    const start = this.#length;
    for (const value of values) this.put(element, value);
    this.#bytes.writeUInt32LE(this.#length - start, at);
  }
}

const misfit = (type: string, value: unknown): CrispError =>
  malformed(`${String(value).slice(0, 80)} is not a value of type ${type || 'none'}`);

/** Reads values; never beyond its bytes, never deeper than the specification allows. */
export class ValueReader {
  readonly #bytes: Buffer;
  readonly #little: boolean;
  #at: number;

  constructor(bytes: Buffer, littleEndian: boolean, at = 0) {
    this.#bytes = bytes;
    this.#little = littleEndian;
    this.#at = at;
  }

  get at(): number {
    return this.#at;
  }

  align(to: number): void {
    this.#take(-this.#at & (to - 1));
  }

  /** Where the next `size` bytes begin. */
  #take(size: number): number {
    const at = this.#at;
    if (at + size > this.#bytes.length) throw malformed('a message ends within a value');
    this.#at = at + size;
    return at;
  }

  /** All values of a signature. */
  all(signature: string): DBusValue[] {
    return completeTypes(signature).map((type) => this.get(type));
  }

  get(type: string, depth = 0): DBusValue {
    if (depth > 2 * MAX_DEPTH) throw malformed('a value is too deep');
    this.align(alignments[type[0] ?? ''] ?? 1);
    switch (type[0]) {
      case 'y':
        return this.#bytes.readUInt8(this.#take(1));
      case 'n':
        return this.#little ? this.#bytes.readInt16LE(this.#take(2)) : this.#bytes.readInt16BE(this.#take(2));
      case 'q':
        return this.#little
          ? this.#bytes.readUInt16LE(this.#take(2))
          : this.#bytes.readUInt16BE(this.#take(2));
      case 'i':
        return this.#little ? this.#bytes.readInt32LE(this.#take(4)) : this.#bytes.readInt32BE(this.#take(4));
      case 'u':
        return this.#uint32();
      case 'b':
        return this.#uint32() !== 0;
      case 'x':
        return this.#little
          ? this.#bytes.readBigInt64LE(this.#take(8))
          : this.#bytes.readBigInt64BE(this.#take(8));
      case 't':
        return this.#little
          ? this.#bytes.readBigUInt64LE(this.#take(8))
          : this.#bytes.readBigUInt64BE(this.#take(8));
      case 'd':
        return this.#little
          ? this.#bytes.readDoubleLE(this.#take(8))
          : this.#bytes.readDoubleBE(this.#take(8));
      default:
        return this.#composite(type, depth);
    }
  }

  #composite(type: string, depth: number): DBusValue {
    switch (type[0]) {
      case 's':
      case 'o':
        return this.#text(this.#uint32());
      case 'g':
        return this.#text(this.#bytes.readUInt8(this.#take(1)));
      case 'v': {
        const inner = this.#text(this.#bytes.readUInt8(this.#take(1)));
        if (completeTypes(inner).length !== 1) throw malformed('a variant without a single type');
        return { type: inner, value: this.get(inner, depth + 1) };
      }
      case 'a':
        return this.#array(type.slice(1), depth);
      default:
        return members(type).map((member) => this.get(member, depth + 1));
    }
  }

  #uint32(): number {
    return this.#little ? this.#bytes.readUInt32LE(this.#take(4)) : this.#bytes.readUInt32BE(this.#take(4));
  }

  #text(length: number): string {
    const at = this.#take(length + 1);
    return this.#bytes.toString('utf8', at, at + length);
  }

  #array(element: string, depth: number): DBusValue[] {
    const size = this.#uint32();
    if (size > MAX_ARRAY) throw malformed(`an array of ${size} bytes`);
    this.align(alignments[element[0] ?? ''] ?? 1);
    const end = this.#at + size;
    const values: DBusValue[] = [];
    // Each element has at least one byte, so a hostile length ends the loop too.
    while (this.#at < end) values.push(this.get(element, depth + 1));
    if (this.#at !== end) throw malformed('an array ends within an element');
    return values;
  }
}
