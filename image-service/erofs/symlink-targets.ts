import { BLOCK, INODE_SIZE, layouts } from './format.ts';
import type { ImageFile } from './image-file.ts';
import { readShape } from './inode.ts';
import type { Metadata, Place } from './metadata.ts';

/** Targets that are remembered; each may have 4095 bytes. */
const MOST_KNOWN = 1024;

/** The targets of symlinks, read back from the image where a path leads through one. */
export class SymlinkTargets {
  readonly #image: ImageFile;
  readonly #metadata: Metadata;
  readonly #known = new Map<Place, string>();

  constructor(image: ImageFile, metadata: Metadata) {
    this.#image = image;
    this.#metadata = metadata;
  }

  of(place: Place): string {
    const known = this.#known.get(place);
    if (known !== undefined) return known;
    const at = this.#metadata.offsetInImage(place);
    const { layout, size, where, xattrBytes } = readShape(this.#image.read(at, INODE_SIZE));
    const from = layout === layouts.inline ? at + INODE_SIZE + xattrBytes : where * BLOCK;
    const target = this.#image.read(from, size).toString('latin1');
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(place, target);
    return target;
  }
}
