/**
 * Compressed header fields (RFC 7541). What a client sends is decoded with the dynamic table that it builds; what is sent to it
 * uses the static table alone, so no state is kept for it.
 */
import { ConnectionError, Http2Code } from './frames.ts';
import { END_OF_STRING, huffmanTree, STATIC_TABLE } from './hpack-tables.ts';

export type HeaderField = readonly [name: string, value: string];

/** Bytes that an entry counts for beside its name and value (section 4.1). */
const ENTRY_OVERHEAD = 32;
/** The table's size where no SETTINGS_HEADER_TABLE_SIZE was sent, which crisp does not. */
const TABLE_SIZE = 4096;
const TREE = huffmanTree();

const malformed = (why: string): ConnectionError =>
  new ConnectionError(Http2Code.compressionError, `a header block cannot be decoded: ${why}`);

const sizeOf = ([name, value]: HeaderField): number => name.length + value.length + ENTRY_OVERHEAD;

export class HpackDecoder {
  readonly #limit: number;
  /** Newest last: index 62 is the last one. */
  #table: HeaderField[] = [];
  #size = 0;
  #maxSize = TABLE_SIZE;
  #block: Buffer = Buffer.alloc(0);
  #at = 0;

  /** `limit`: bytes of all fields of a block, as SETTINGS_MAX_HEADER_LIST_SIZE counts them. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /**
   * The fields of a whole block; undefined where they exceed the limit (the table is right all the same). Throws ConnectionError
   * where the block is malformed: the table is then unknown, so the connection cannot go on.
   */
  decode(block: Buffer): HeaderField[] | undefined {
    this.#block = block;
    this.#at = 0;
    const fields: HeaderField[] = [];
    let size = 0;
    while (this.#at < block.length) {
      const first = block[this.#at] as number;
      if ((first & 0xe0) === 0x20) {
        if (fields.length > 0 || size > 0) throw malformed('a change of the table amid fields');
        this.#resize(this.#integer(5));
        continue;
      }
      const field = this.#field(first);
      size += sizeOf(field);
      if (size <= this.#limit) fields.push(field);
    }
    return size <= this.#limit ? fields : undefined;
  }

  #field(first: number): HeaderField {
    if (first & 0x80) return this.#entry(this.#integer(7));
    const isIndexed = (first & 0x40) !== 0;
    const index = this.#integer(isIndexed ? 6 : 4);
    const name = index === 0 ? this.#string() : this.#entry(index)[0];
    const field = [name, this.#string()] as const;
    if (isIndexed) this.#add(field);
    return field;
  }

  #entry(index: number): HeaderField {
    const entry =
      index <= STATIC_TABLE.length
        ? STATIC_TABLE[index - 1]
        : this.#table[this.#table.length - (index - STATIC_TABLE.length)];
    if (entry === undefined) throw malformed(`no entry ${index}`);
    return entry;
  }

  #add(field: HeaderField): void {
    this.#table.push(field);
    this.#size += sizeOf(field);
    this.#evict();
  }

  #resize(size: number): void {
    if (size > TABLE_SIZE) throw malformed(`a table of ${size} bytes`);
    this.#maxSize = size;
    this.#evict();
  }

  #evict(): void {
    let count = 0;
    while (this.#size > this.#maxSize) this.#size -= sizeOf(this.#table[count++] as HeaderField);
    if (count > 0) this.#table.splice(0, count);
  }

  /** Section 5.1, with a prefix of `bits`. */
  #integer(bits: number): number {
    const mask = (1 << bits) - 1;
    let value = this.#byte() & mask;
    if (value < mask) return value;
    for (let shift = 0; shift <= 21; shift += 7) {
      const byte = this.#byte();
      value += (byte & 0x7f) << shift;
      if (byte < 0x80) return value;
    }
    throw malformed('an integer beyond 2^28');
  }

  #byte(): number {
    const byte = this.#block[this.#at++];
    if (byte === undefined) throw malformed('it ends amid a field');
    return byte;
  }

  #string(): string {
    const isHuffman = ((this.#block[this.#at] ?? 0) & 0x80) !== 0;
    const from = this.#integer(7);
    const begin = this.#at;
    this.#at += from;
    if (this.#at > this.#block.length) throw malformed('it ends amid a string');
    return isHuffman
      ? decodeHuffman(this.#block, begin, this.#at)
      : this.#block.toString('latin1', begin, this.#at);
  }
}

/** Section 5.2. */
function decodeHuffman(block: Buffer, from: number, to: number): string {
  const bytes = Buffer.allocUnsafe(((to - from) * 8) / 5);
  let length = 0;
  let node = 0;
  let padding = 0;
  let isOnes = true;
  for (let at = from; at < to; at += 1) {
    const byte = block[at] as number;
    for (let bit = 7; bit >= 0; bit -= 1) {
      const branch = (byte >> bit) & 1;
      const next = TREE[2 * node + branch] as number;
      padding += 1;
      if (branch === 0) isOnes = false;
      if (next >= 0) {
        node = next;
        continue;
      }
      if (~next === END_OF_STRING) throw malformed('the end of the string within it');
      bytes[length++] = ~next;
      node = 0;
      padding = 0;
      isOnes = true;
    }
  }
  if (padding > 7 || !isOnes) throw malformed('padding that is not of the end of a string');
  return bytes.toString('latin1', 0, length);
}

/** A block of these fields, each without being indexed. Names are in lower case. */
export function encodeHeaders(fields: readonly HeaderField[]): Buffer {
  return Buffer.concat(
    fields.flatMap(([name, value]) => {
      if (name === ':status' && value === '200') return [Buffer.from([0x88])];
      const index = STATIC_TABLE.findIndex(([known]) => known === name) + 1;
      const head = index > 0 ? [integer(index, 4)] : [Buffer.from([0]), ...string(name)];
      return [...head, ...string(value)];
    }),
  );
}

function string(text: string): Buffer[] {
  const bytes = Buffer.from(text, 'latin1');
  return [integer(bytes.length, 7), bytes];
}

function integer(value: number, bits: number): Buffer {
  const mask = (1 << bits) - 1;
  if (value < mask) return Buffer.from([value]);
  const bytes = [mask];
  let rest = value - mask;
  for (; rest >= 0x80; rest >>= 7) bytes.push((rest & 0x7f) | 0x80);
  return Buffer.from([...bytes, rest]);
}
