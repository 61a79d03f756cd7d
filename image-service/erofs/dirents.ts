import { BLOCK } from './format.ts';

/** Bytes of an entry beside its name. */
const DIRENT = 12;

/** An entry of a directory. */
export interface Dirent {
  readonly nid: number;
  readonly type: number;
  readonly name: Uint8Array;
}

/**
 * How many of the entries fit each block of a directory: blocks are filled in order, a name never crosses one. `lengths` are
 * those of the names, sorted by bytes. `tail` is the length of what the last block has.
 */
export class DirentBlocks {
  /** Blocks before the last one. */
  full = 0;
  tail = 0;

  /** Counts a name; returns whether it begins a further block. */
  add(nameLength: number): boolean {
    const size = DIRENT + nameLength;
    if (this.tail + size <= BLOCK) {
      this.tail += size;
      return false;
    }
    this.full++;
    this.tail = size;
    return true;
  }

  /** Bytes of the directory. */
  get size(): number {
    return this.full * BLOCK + this.tail;
  }
}

/** Writes the entries of one block; returns its length. */
export function putDirents(bytes: Buffer, at: number, entries: readonly Dirent[]): number {
  let name = entries.length * DIRENT;
  entries.forEach((entry, index) => {
    const dirent = at + index * DIRENT;
    bytes.writeUInt32LE(entry.nid % 2 ** 32, dirent);
    bytes.writeUInt32LE(Math.floor(entry.nid / 2 ** 32), dirent + 4);
    bytes.writeUInt16LE(name, dirent + 8);
    bytes.writeUInt8(entry.type, dirent + 10);
    bytes.writeUInt8(0, dirent + 11);
    bytes.set(entry.name, at + name);
    name += entry.name.length;
  });
  return name;
}
