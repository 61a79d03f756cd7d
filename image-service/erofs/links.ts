import { BLOCK, INODE_SIZE, layouts } from './format.ts';
import type { ImageFile } from './image-file.ts';
import { NLINK_OFFSET, readShape } from './inode.ts';
import type { Metadata, Place } from './metadata.ts';

const PIECE = 1 << 20;

/**
 * Inodes with several names. An inode is written when its content ends, before its links are known: at the end it is written once
 * more, with their number; the content stays where it is.
 */
export class Links {
  readonly #image: ImageFile;
  readonly #metadata: Metadata;
  /** Numbers of names, of the inodes that have or had more than one. */
  readonly #counts = new Map<Place, number>();
  #final = new Map<Place, Place>();

  constructor(image: ImageFile, metadata: Metadata) {
    this.#image = image;
    this.#metadata = metadata;
  }

  /** Counts a further name of the inode. */
  add(place: Place): void {
    this.#counts.set(place, (this.#counts.get(place) ?? 1) + 1);
  }

  /** Counts one name less; returns whether none is left. */
  drop(place: Place): boolean {
    const count = this.#counts.get(place) ?? 1;
    if (count > 1) this.#counts.set(place, count - 1);
    return count === 1;
  }

  /** Writes the inodes with several names. */
  write(): void {
    for (const [place, count] of this.#counts)
      if (count > 1) this.#final.set(place, this.#again(place, count));
    this.#counts.clear();
  }

  /** The place of an inode after `write`. */
  final(place: Place): Place {
    return this.#final.get(place) ?? place;
  }

  #again(place: Place, nlink: number): Place {
    const from = this.#metadata.offsetInImage(place);
    const head = this.#image.read(from, INODE_SIZE);
    const { layout, size, where, xattrBytes } = readShape(head);
    const tail = layout === layouts.inline ? size % BLOCK : 0;
    const map = layout === layouts.chunks ? Math.ceil(size / (BLOCK * 2 ** where)) * 4 : 0;
    const length = INODE_SIZE + xattrBytes + tail + map;
    head.writeUInt32LE(nlink, NLINK_OFFSET);
    if (length > BLOCK) return this.#metadata.large(this.#pieces(head, from, length));
    const rest = this.#image.read(from + INODE_SIZE, length - INODE_SIZE);
    const to = this.#metadata.reserve(length);
    const at = this.#metadata.offsetOf(to);
    this.#metadata.bytes.set(head, at);
    this.#metadata.bytes.set(rest, at + INODE_SIZE);
    return to;
  }

  *#pieces(head: Buffer, from: number, length: number): Generator<Buffer> {
    yield head;
    for (let at = INODE_SIZE; at < length; at += PIECE)
      yield this.#image.read(from + at, Math.min(PIECE, length - at));
  }
}
