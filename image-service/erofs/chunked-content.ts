import { CrispError } from '#core/errors.ts';
import { BLOCK, NO_BLOCK, roundUp } from './format.ts';
import type { ImageFile } from './image-file.ts';

/** Bytes of the map per chunk. */
const ENTRY = 4;
/** The largest chunk that an inode can say: 2^31 blocks. */
const MOST_CHUNK = 2 ** 43;
/** Zeros and maps that any layer may need for its holes, and how many times the bytes of its files besides. */
const OVERHEAD = 1 << 30;
const OVERHEAD_RATIO = 4;
const PIECE = 1 << 20;

/** Counts what the holes of a layer's files cost. */
export class HoleBudget {
  #spent = 0;

  /** `bytes`: those of the image so far. Throws ResourceExhausted: a few bytes per terabyte must not fill a disk. */
  spend(count: number, bytes: number): void {
    this.#spent += count;
    if (this.#spent <= OVERHEAD + (bytes - this.#spent) * OVERHEAD_RATIO) return;
    throw new CrispError(
      'ResourceExhausted',
      `layer archive: the holes of its files need more than ${OVERHEAD} bytes`,
      { hint: 'rebuild the image with smaller sparse files' },
    );
  }
}

/**
 * The content of a file with holes, in chunks. Only chunks with data are stored. A small chunk makes the map long, a large one
 * stores zeros around the data: it begins in between and is halved where the zeros outweigh the map; what is stored by
 * then fits the smaller chunks, too.
 */
export class ChunkedContent {
  readonly #image: ImageFile;
  readonly #size: number;
  readonly #budget: HoleBudget;
  #chunk: number;
  #position: number;
  #zeros = 0;
  /** Whether the last run goes on at the position. */
  #open: boolean;
  /** Runs of chunks: where in the file, where in the image, how many; in blocks. */
  readonly #starts: number[] = [];
  readonly #places: number[] = [];
  readonly #lengths: number[] = [];

  /** `position`: bytes that are in the image already, from `start` on. */
  constructor(image: ImageFile, size: number, position: number, start: number, budget: HoleBudget) {
    this.#image = image;
    this.#size = size;
    this.#budget = budget;
    this.#position = position;
    this.#open = position > 0;
    // Where one piece of data costs as much as the map.
    this.#chunk = Math.max(BLOCK, 2 ** Math.floor(Math.log2(Math.sqrt(ENTRY * size))));
    if (this.#open) this.#begin(0, start);
  }

  write(piece: Uint8Array): void {
    if (piece.length === 0) return;
    if (!this.#open) {
      const into = this.#position % this.#chunk;
      this.#begin((this.#position - into) / BLOCK, this.#image.position / BLOCK);
      this.#pad(into);
      this.#open = true;
    }
    this.#image.append(piece);
    this.#position += piece.length;
  }

  hole(length: number): void {
    const target = this.#position + length;
    if (this.#open) {
      const end = roundUp(this.#position, this.#chunk);
      if (target < end && target < this.#size) this.#pad(length);
      else this.#close(Math.min(end, roundUp(this.#size, BLOCK)));
    }
    this.#position = target;
  }

  /** Ends the content; returns the bytes of a chunk, of which `map` has the blocks. */
  end(): number {
    if (this.#open) this.#close(roundUp(this.#size, BLOCK));
    const edges = this.#starts.flatMap((start, run) => [start, start + (this.#lengths[run] as number)]);
    const last = roundUp(this.#size, BLOCK) / BLOCK;
    const largest = edges.every(
      (edge) => edge === last || edge === 0 || (edge * BLOCK) % (2 * this.#chunk) === 0,
    );
    if (largest) this.#enlarge(edges, last);
    this.#budget.spend(this.#mapBytes, this.#image.position);
    return this.#chunk;
  }

  /** Block addresses of all chunks, in pieces. */
  *map(): Generator<Buffer> {
    const [chunks, blocks] = [Math.ceil(this.#size / this.#chunk), this.#chunk / BLOCK];
    let run = 0;
    for (let from = 0; from < chunks; from += PIECE / ENTRY) {
      const count = Math.min(PIECE / ENTRY, chunks - from);
      const piece = Buffer.alloc(count * ENTRY, 0xff);
      for (let chunk = from; run < this.#starts.length; ) {
        const start = this.#starts[run] as number;
        const end = start + (this.#lengths[run] as number);
        chunk = Math.max(chunk, start / blocks);
        if (chunk >= from + count) break;
        if (chunk * blocks >= end) run++;
        else {
          const place = (this.#places[run] as number) + chunk * blocks - start;
          if (place >= NO_BLOCK) throw new RangeError('a block address beyond 32 bits');
          piece.writeUInt32LE(place, (chunk - from) * ENTRY);
          chunk++;
        }
      }
      yield piece;
    }
  }

  get #mapBytes(): number {
    return Math.ceil(this.#size / this.#chunk) * ENTRY;
  }

  get mapBytes(): number {
    return this.#mapBytes;
  }

  #begin(start: number, place: number): void {
    this.#starts.push(start);
    this.#places.push(place);
    this.#lengths.push(0);
  }

  /** Fills the last chunk of a run with zeros up to this position of the file. */
  #close(end: number): void {
    this.#pad(end - this.#position);
    const run = this.#starts.length - 1;
    this.#lengths[run] = this.#image.position / BLOCK - (this.#places[run] as number);
    this.#open = false;
  }

  #pad(count: number): void {
    this.#budget.spend(count, this.#image.position);
    this.#image.zeros(count);
    this.#zeros += count;
    while (this.#chunk > BLOCK && this.#zeros > this.#mapBytes) this.#chunk /= 2;
  }

  /** Doubles the chunk while all runs begin and end at its multiples. */
  #enlarge(edges: readonly number[], last: number): void {
    const fits = (chunk: number) => edges.every((edge) => edge === last || (edge * BLOCK) % chunk === 0);
    while (this.#chunk < MOST_CHUNK && this.#chunk < this.#size && fits(2 * this.#chunk)) this.#chunk *= 2;
  }
}
