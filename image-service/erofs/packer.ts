import { BLOCK, roundUp, SLOT } from './format.ts';

/** Blocks that are filled at once. */
const WINDOW = 16;

/**
 * Finds places for inodes, which may not cross a block where they have a tail. Sixteen blocks are filled at once, each item
 * where it leaves the least; an item that fits nowhere closes them.
 */
export class Packer {
  static readonly size = WINDOW * BLOCK;
  readonly #used = new Uint16Array(WINDOW);
  #blocks = 0;

  /** Bytes of the blocks in use. */
  get length(): number {
    return this.#blocks * BLOCK;
  }

  /** The offset of a place for that many bytes, at most a block; -1 where there is none. */
  fit(size: number): number {
    const length = roundUp(size, SLOT);
    let best = -1;
    let least = BLOCK + 1;
    for (let block = 0; block < this.#blocks; block++) {
      const rest = BLOCK - (this.#used[block] as number) - length;
      if (rest < 0 || rest >= least) continue;
      best = block;
      least = rest;
    }
    if (best < 0) {
      if (this.#blocks === WINDOW) return -1;
      best = this.#blocks++;
    }
    const used = this.#used[best] as number;
    this.#used[best] = used + length;
    return best * BLOCK + used;
  }

  reset(): void {
    this.#used.fill(0);
    this.#blocks = 0;
  }
}

/** The offsets of items that are placed one after another, without their bytes: what a `Metadata` will do. */
export class PlacePlan {
  readonly #packer = new Packer();
  #base = 0;

  take(size: number): number {
    if (size > BLOCK) {
      const at = this.#base + this.#packer.length;
      this.#base = at + roundUp(size, BLOCK);
      this.#packer.reset();
      return at;
    }
    let offset = this.#packer.fit(size);
    if (offset < 0) {
      this.#base += this.#packer.length;
      this.#packer.reset();
      offset = this.#packer.fit(size);
    }
    return this.#base + offset;
  }
}
