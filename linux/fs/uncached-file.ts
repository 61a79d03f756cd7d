/**
 * Files that are read once and must leave no trace in the page cache: neither fill it nor, as posix_fadvise(2) would, empty
 * it of what containers use. For threads that work synchronously.
 */
import { closeSync, constants, fstatSync, openSync, readSync, type Stats, statSync } from 'node:fs';
import koffi from 'koffi';
import { errnoOf } from '#core/errors.ts';

/** The strictest alignment of direct IO: the largest logical block that disks have. */
export const DIRECT_ALIGNMENT = 4096;
/** O_NONBLOCK: were the path another kind of file, its opening would not be waited for. */
const FLAGS = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW | constants.O_NOCTTY;
const REFUSED: readonly (string | undefined)[] = ['EINVAL', 'EOPNOTSUPP', 'ENOTSUP'];

/** Whether a call was refused because the file system has no direct IO, or none for this file. */
export const isDirectRefused = (code: string | undefined): boolean => REFUSED.includes(code);

/** Memory for direct IO of this many bytes, a multiple of 4096. */
export function alignedBuffer(bytes: number): Uint8Array {
  const memory = new Uint8Array(bytes + DIRECT_ALIGNMENT);
  const start = Number(-koffi.address(memory) & BigInt(DIRECT_ALIGNMENT - 1));
  return memory.subarray(start, start + bytes);
}

/** One open file. Its methods throw Node's errors. */
export class UncachedFile implements Disposable {
  readonly stat: Stats;
  readonly #path: string;
  #fd: number;
  #isDirect = true;

  constructor(path: string) {
    this.#path = path;
    this.#fd = this.#open();
    this.stat = fstatSync(this.#fd);
  }

  /** Fills memory of `alignedBuffer` from a position that is a multiple of 4096; fewer bytes only at the file's end. */
  read(memory: Uint8Array, position: number): number {
    let at = 0;
    while (at < memory.length) {
      const count = this.#read(memory.subarray(at), position + at);
      at += count;
      // Direct IO ends within a block only at the end of the file.
      if (count === 0 || at % DIRECT_ALIGNMENT !== 0) break;
    }
    return at;
  }

  /** Whether another file has the path by now, or none. */
  isReplaced(): boolean {
    const now = statSync(this.#path, { throwIfNoEntry: false });
    return now?.ino !== this.stat.ino || now.dev !== this.stat.dev;
  }

  [Symbol.dispose](): void {
    closeSync(this.#fd);
  }

  #open(): number {
    try {
      return openSync(this.#path, FLAGS | constants.O_DIRECT);
    } catch (error) {
      if (!isDirectRefused(errnoOf(error))) throw error;
      this.#isDirect = false; // a file system without direct IO
      return openSync(this.#path, FLAGS);
    }
  }

  #read(memory: Uint8Array, position: number): number {
    try {
      return readSync(this.#fd, memory, 0, memory.length, position);
    } catch (error) {
      if (!this.#isDirect || !isDirectRefused(errnoOf(error))) throw error;
      // Some file systems open for direct IO what they then do not read so.
      const fd = openSync(this.#path, FLAGS);
      closeSync(this.#fd);
      this.#fd = fd;
      this.#isDirect = false;
      return readSync(this.#fd, memory, 0, memory.length, position);
    }
  }
}
