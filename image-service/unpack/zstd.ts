import { damaged } from './entry.ts';

const FRAME = 0xfd2fb528;
const SKIPPABLE = 0x184d2a50; // and the fifteen that follow
const RLE = 1;
const RESERVED = 3;

type Part = 'magic' | 'descriptor' | 'header' | 'block header' | 'block' | 'checksum' | 'skip size' | 'skip';

/**
 * Splits a zstd stream at the ends of its frames (RFC 8878) and drops skippable frames. Node's decompressor stops after
 * the first frame, mostly without an error, unless each frame begins in a chunk of its own.
 */
export class ZstdFrames {
  #part: Part = 'magic';
  /** Remaining bytes of the current part. */
  #remaining = 4;
  readonly #seen = Buffer.alloc(8);
  #filled = 0;
  #checksum = false;
  #last = false;

  /** The pieces of this chunk to pass on, each within one frame. Throws DataLoss where the stream is damaged. */
  push(chunk: Buffer): Buffer[] {
    const pieces: Buffer[] = [];
    let from = 0;
    let at = 0;
    while (at < chunk.length) {
      const part = this.#part;
      const count = Math.min(this.#remaining, chunk.length - at);
      if (isFixed(part)) this.#filled += chunk.copy(this.#seen, this.#filled, at, at + count);
      at += count;
      this.#remaining -= count;
      if (this.#remaining > 0) break;
      const inside = part !== 'magic' && part !== 'skip' && part !== 'skip size';
      this.#next();
      if (part === 'magic' && this.#part === 'descriptor') {
        // Held back until it is known that this is not a skippable frame.
        pieces.push(Buffer.from(this.#seen.subarray(0, 4)));
      } else if (inside && this.#part === 'magic') {
        pieces.push(chunk.subarray(from, at));
      }
      this.#filled = 0;
      if (!inside || this.#part === 'magic') from = at;
    }
    if (from < at && this.#inFrame()) pieces.push(chunk.subarray(from, at));
    return pieces;
  }

  /** Whether the stream may end here. */
  get complete(): boolean {
    return this.#part === 'magic' && this.#filled === 0;
  }

  #inFrame(): boolean {
    return this.#part !== 'magic' && this.#part !== 'skip' && this.#part !== 'skip size';
  }

  #enter(part: Part, length: number): void {
    this.#part = part;
    this.#remaining = length;
    // An empty part ends at once.
    if (length === 0) this.#next();
  }

  #next(): void {
    const seen = this.#seen;
    if (this.#part === 'magic') {
      const magic = seen.readUInt32LE(0);
      if (magic === FRAME) this.#enter('descriptor', 1);
      else if ((magic & 0xfffffff0) >>> 0 === SKIPPABLE) this.#enter('skip size', 4);
      else throw damaged('a zstd frame does not begin with its magic number');
    } else if (this.#part === 'descriptor') {
      const descriptor = seen[0] ?? 0;
      this.#checksum = (descriptor & 4) !== 0;
      this.#enter('header', headerLength(descriptor));
    } else if (this.#part === 'header') {
      this.#enter('block header', 3);
    } else if (this.#part === 'block header') {
      const value = seen.readUIntLE(0, 3);
      const type = (value >> 1) & 3;
      if (type === RESERVED) throw damaged('a zstd block of the reserved type');
      this.#last = (value & 1) === 1;
      this.#enter('block', type === RLE ? 1 : value >> 3);
    } else if (this.#part === 'block') {
      if (!this.#last) this.#enter('block header', 3);
      else this.#enter(this.#checksum ? 'checksum' : 'magic', 4);
    } else if (this.#part === 'skip size') {
      this.#enter('skip', seen.readUInt32LE(0));
    } else {
      this.#enter('magic', 4);
    }
  }
}

const isFixed = (part: Part): boolean =>
  part === 'magic' || part === 'descriptor' || part === 'block header' || part === 'skip size';

/** Bytes between the descriptor and the first block: window, dictionary id, content size. */
function headerLength(descriptor: number): number {
  const single = (descriptor & 0x20) !== 0;
  const dictionary = [0, 1, 2, 4][descriptor & 3] ?? 0;
  const sizeFlag = descriptor >> 6;
  const size = sizeFlag === 0 ? (single ? 1 : 0) : 1 << sizeFlag;
  return (single ? 0 : 1) + dictionary + size;
}
