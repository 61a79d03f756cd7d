import { ChunkedContent, type HoleBudget } from './chunked-content.ts';
import { BLOCK, layouts, roundUp } from './format.ts';
import type { ImageFile } from './image-file.ts';

/** Files of up to this size have their last, partial block behind the inode; it would be a read of its own for larger ones. */
const MOST_INLINE = 64 << 10;
const ZEROS = Buffer.alloc(MOST_INLINE);

/** Where the content of a file is. */
export interface Content {
  readonly layout: number;
  readonly size: number;
  /** First block, or the form of the chunks. */
  readonly where: number;
  /** What follows the inode. */
  readonly tail: Uint8Array;
  /** The map of chunks that follows the inode, where it is in chunks. */
  readonly chunks?: ChunkedContent;
}

const NOTHING = new Uint8Array(0);
export const EMPTY: Content = { layout: layouts.plain, size: 0, where: 0, tail: NOTHING };

/** The content of one file while it streams into the image: whole blocks at once, the rest of a small file at its end. */
export class FileContent {
  readonly #image: ImageFile;
  readonly #budget: HoleBudget;
  readonly #size: number;
  /** Bytes that go into blocks. */
  readonly #whole: number;
  readonly #tail: Buffer;
  #filled = 0;
  readonly #start: number;
  #position = 0;
  #chunked: ChunkedContent | undefined;

  /** `tail` is a block of memory that is this file's until its end. */
  constructor(image: ImageFile, size: number, tail: Buffer, budget: HoleBudget) {
    this.#image = image;
    this.#budget = budget;
    this.#size = size;
    this.#whole = size <= MOST_INLINE ? size - (size % BLOCK) : size;
    this.#tail = tail;
    this.#start = image.position / BLOCK;
  }

  /** Bytes so far, those of holes among them. */
  get position(): number {
    return this.#position;
  }

  write(piece: Uint8Array): void {
    if (this.#chunked) this.#chunked.write(piece);
    else if (this.#position + piece.length <= this.#whole) this.#image.append(piece);
    else {
      const count = Math.max(0, this.#whole - this.#position);
      if (count > 0) this.#image.append(piece.subarray(0, count));
      this.#tail.set(piece.subarray(count), this.#filled);
      this.#filled += piece.length - count;
    }
    this.#position += piece.length;
  }

  hole(length: number): void {
    if (this.#size <= MOST_INLINE) {
      this.write(ZEROS.subarray(0, length));
      return;
    }
    this.#chunked ??= new ChunkedContent(this.#image, this.#size, this.#position, this.#start, this.#budget);
    this.#chunked.hole(length);
    this.#position += length;
  }

  /** Ends the file. `room` is what a tail may have behind an inode; a longer one gets a block. */
  end(room: number): Content {
    const [size, chunked] = [this.#size, this.#chunked];
    if (chunked) {
      const bits = Math.log2(chunked.end() / BLOCK);
      return { layout: layouts.chunks, size, where: bits, tail: NOTHING, chunks: chunked };
    }
    const tail = this.#tail.subarray(0, this.#filled);
    const inline = tail.length > 0 && tail.length <= room;
    if (!inline) {
      this.#image.append(tail);
      this.#image.zeros(roundUp(this.#image.position, BLOCK) - this.#image.position);
    }
    const where = size === 0 ? 0 : this.#start;
    return { layout: inline ? layouts.inline : layouts.plain, size, where, tail: inline ? tail : NOTHING };
  }
}
