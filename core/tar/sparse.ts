/**
 * Files with holes: the four forms that GNU tar writes (tar(5); the manual of GNU tar, "Storing Sparse Files"). An archive
 * has the map of a file's data and the data alone.
 */
import { damaged, shown, type TarHandler } from './entry.ts';

/** Where the data of a file is: pairs of offset and length in bytes, ascending. */
export interface SparseMap {
  readonly pairs: readonly number[];
  /** Bytes of the whole file. */
  readonly size: number;
}

/** What precedes the data in the archive. `take` consumes bytes of the archive from `at` and returns the next position. */
export interface MapReader {
  take(piece: Buffer, at: number): number;
  readonly done: boolean;
  /** Bytes that were taken. */
  readonly taken: number;
  readonly pairs: readonly number[];
}

const BLOCK = 512;
const PAIR = 24;
/** Pieces of data in one file: 16 MiB of memory. */
const PAIR_LIMIT = 1 << 20;
const DIGITS = /^\d{1,16}$/;

const tooLong = (name: string): Error =>
  damaged(`sparse file ${shown(name)}: its map has more than ${PAIR_LIMIT} entries`);

/** Reads one decimal number of a map. */
function mapNumber(text: string, name: string): number {
  const value = DIGITS.test(text) ? Number(text) : Number.NaN;
  if (!Number.isSafeInteger(value))
    throw damaged(`sparse file ${shown(name)}: not a number in its map: ${shown(text.slice(0, 40))}`);
  return value;
}

/** Checks a map against the bytes of data that the archive has. Throws DataLoss. */
export function checkMap({ pairs, size }: SparseMap, stored: number, name: string): void {
  let end = 0;
  let sum = 0;
  for (let n = 0; n < pairs.length; n += 2) {
    const [offset = 0, length = Number.NaN] = [pairs[n], pairs[n + 1]];
    if (offset < end || !(offset + length <= size))
      throw damaged(
        `sparse file ${shown(name)}: its map is odd, overlaps itself or leads beyond ${size} bytes`,
      );
    end = offset + length;
    sum += length;
  }
  if (sum !== stored)
    throw damaged(`sparse file ${shown(name)}: its map has ${sum} bytes of data, the archive ${stored}`);
}

/** The old form of GNU: four pairs in the header, more in blocks that follow it. */
export class OldGnuMap implements MapReader {
  readonly pairs: number[] = [];
  readonly #name: string;
  readonly #number: (block: Buffer, at: number) => number;
  readonly #block = Buffer.alloc(BLOCK);
  #filled = 0;
  done: boolean;
  taken = 0;

  /** `number` reads a number of twelve bytes. */
  constructor(header: Buffer, name: string, number: (block: Buffer, at: number) => number) {
    this.#name = name;
    this.#number = number;
    this.#read(header, 386, 4);
    this.done = (header[482] ?? 0) === 0;
  }

  take(piece: Buffer, at: number): number {
    const count = Math.min(BLOCK - this.#filled, piece.length - at);
    piece.copy(this.#block, this.#filled, at, at + count);
    this.#filled += count;
    this.taken += count;
    if (this.#filled === BLOCK) {
      this.#filled = 0;
      this.#read(this.#block, 0, 21);
      this.done = (this.#block[504] ?? 0) === 0;
    }
    return at + count;
  }

  /** A pair without a length field ends the list. */
  #read(block: Buffer, start: number, count: number): void {
    for (let at = start; at < start + count * PAIR; at += PAIR) {
      if ((block[at + 12] ?? 0) === 0) return;
      if (this.pairs.length >= 2 * PAIR_LIMIT) throw tooLong(this.#name);
      this.pairs.push(this.#number(block, at), this.#number(block, at + 12));
    }
  }
}

/** A map that was in the pax records: nothing of it is in the content. */
export function recordsMap(texts: readonly string[], name: string): MapReader {
  const pairs = texts.map((text) => mapNumber(text, name));
  return { pairs, done: true, taken: 0, take: (_piece, at) => at };
}

/** The form 1.0 of pax: lines of decimal numbers before the data, padded to a whole block. */
export class LinesMap implements MapReader {
  readonly pairs: number[] = [];
  readonly #name: string;
  #count: number | undefined;
  #line = '';
  taken = 0;

  constructor(name: string) {
    this.#name = name;
  }

  get done(): boolean {
    return this.#complete && this.taken % BLOCK === 0;
  }

  take(piece: Buffer, start: number): number {
    let at = start;
    for (; at < piece.length && !this.#complete; at++) {
      const byte = piece[at] ?? 0;
      if (byte === 0x0a) this.#endLine();
      else if (this.#line.length < 20) this.#line += String.fromCharCode(byte);
      else throw damaged(`sparse file ${shown(this.#name)}: a line of its map is too long`);
      this.taken++;
    }
    if (!this.#complete) return at;
    const padding = Math.min((BLOCK - (this.taken % BLOCK)) % BLOCK, piece.length - at);
    this.taken += padding;
    return at + padding;
  }

  get #complete(): boolean {
    return this.#count !== undefined && this.pairs.length === 2 * this.#count;
  }

  #endLine(): void {
    const value = mapNumber(this.#line, this.#name);
    this.#line = '';
    if (this.#count !== undefined) this.pairs.push(value);
    else if (value > PAIR_LIMIT) throw tooLong(this.#name);
    else this.#count = value;
  }
}

/** Passes the data of a sparse file on, with its holes. */
export class SparseContent {
  readonly #map: SparseMap;
  readonly #handler: Pick<Required<TarHandler>, 'data' | 'hole'>;
  #pair = 0;
  /** Position in the file. */
  #at = 0;

  constructor(map: SparseMap, handler: Pick<Required<TarHandler>, 'data' | 'hole'>) {
    this.#map = map;
    this.#handler = handler;
  }

  data(piece: Buffer): void {
    const { pairs } = this.#map;
    for (let at = 0; at < piece.length && this.#pair < pairs.length; ) {
      const [offset = 0, length = 0] = [pairs[this.#pair], pairs[this.#pair + 1]];
      if (length === 0 || offset + length <= this.#at) {
        this.#pair += 2;
        continue;
      }
      this.#skipTo(offset);
      const count = Math.min(offset + length - this.#at, piece.length - at);
      this.#handler.data(piece.subarray(at, at + count));
      this.#at += count;
      at += count;
    }
  }

  /** After the last piece: the hole at the end of the file. */
  end(): void {
    this.#skipTo(this.#map.size);
  }

  #skipTo(offset: number): void {
    if (offset > this.#at) this.#handler.hole(offset - this.#at);
    this.#at = Math.max(this.#at, offset);
  }
}
