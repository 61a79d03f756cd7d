import { CrispError } from '#core/errors.ts';
import { BLOCK, roundUp, SLOT } from './format.ts';
import type { ImageFile } from './image-file.ts';
import { Packer } from './packer.ts';

/** Slots of a segment. */
const SLOTS = Packer.size / SLOT;
/** Segments whose places have 32 bits. */
const MOST_SEGMENTS = 2 ** 32 / SLOTS;

/**
 * Where something of the metadata is: its segment and slot. A segment of up to 64 KiB is collected in memory and appended when
 * it is full, between the data of files; only then its offset is known.
 */
export type Place = number;

/** The metadata of an image, in segments among the data. */
export class Metadata {
  readonly #image: ImageFile;
  readonly #packer = new Packer();
  /** The segment that is being filled. */
  readonly bytes = Buffer.alloc(Packer.size);
  /** Offsets of segments in units of blocks; 0 while one is open. */
  #offsets = new Uint32Array(64);
  #segments = 0;
  #open = -1;

  constructor(image: ImageFile) {
    this.#image = image;
  }

  /** Reserves up to a block, which is not crossed; `bytes` has it at `offsetOf`. May append the segment that is full. */
  reserve(size: number): Place {
    let offset = this.#packer.fit(size);
    if (offset < 0) {
      this.close();
      offset = this.#packer.fit(size);
    }
    if (this.#open < 0) this.#open = this.#add();
    return this.#open * SLOTS + offset / SLOT;
  }

  /** Offset of a place in `bytes`, until the next call. */
  offsetOf(place: Place): number {
    return (place % SLOTS) * SLOT;
  }

  /** Appends what is larger than a block, in pieces. */
  large(pieces: Iterable<Uint8Array>): Place {
    this.close();
    const segment = this.#add();
    this.#offsets[segment] = this.#image.position / BLOCK;
    for (const piece of pieces) this.#image.append(piece);
    this.#image.fillBlock();
    return segment * SLOTS;
  }

  /** Appends the open segment. */
  close(): void {
    if (this.#open < 0) return;
    this.#offsets[this.#open] = this.#image.position / BLOCK;
    this.#image.append(this.bytes.subarray(0, roundUp(this.#packer.length, BLOCK)));
    this.bytes.fill(0, 0, this.#packer.length);
    this.#packer.reset();
    this.#open = -1;
  }

  /** Offset of a place in the image; its segment is appended for that. */
  offsetInImage(place: Place): number {
    const segment = Math.floor(place / SLOTS);
    if (segment === this.#open) this.close();
    return (this.#offsets[segment] as number) * BLOCK + (place % SLOTS) * SLOT;
  }

  #add(): number {
    if (this.#segments >= MOST_SEGMENTS) {
      throw new CrispError('ResourceExhausted', 'layer archive: too many files with large attributes', {
        hint: 'split the layer',
      });
    }
    if (this.#segments === this.#offsets.length) {
      const grown = new Uint32Array(this.#offsets.length * 2);
      grown.set(this.#offsets);
      this.#offsets = grown;
    }
    return this.#segments++;
  }
}
