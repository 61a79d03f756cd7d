import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { Slots } from '../slots.ts';

/** Trees that are deleted at once: each large one takes a thread. */
const DELETIONS = 2;

/** Where blobs and layers are made; on the file system of the stores, so that a rename moves them there. */
export class Staging {
  readonly #directory: string;
  readonly #files: Files;
  readonly #slots = new Slots(DELETIONS);
  readonly #left = new Set<string>();

  readonly #failed: () => void;

  /** `failed`: told when something could not be deleted. */
  constructor(directory: string, files: Files, failed: () => void) {
    this.#directory = directory;
    this.#files = files;
    this.#failed = failed;
  }

  /** Makes the directory and gives what an earlier process left in it. */
  async open(): Promise<string[]> {
    await naming(`make ${this.#directory}`, () => mkdir(this.#directory, { recursive: true, mode: 0o700 }));
    return (await readdir(this.#directory)).map((name) => join(this.#directory, name));
  }

  /** A path that nothing has yet. */
  path(kind: 'blob' | 'layer' | 'archive'): string {
    return join(this.#directory, `${kind}-${randomBytes(8).toString('hex')}`);
  }

  /** Deletes what is left at a path; off the main thread, missing is success. What cannot be deleted is `left`. */
  async remove(path: string): Promise<void> {
    using _slot = await this.#slots.take();
    this.#left.delete(path);
    try {
      await this.#files.removeTree(path);
    } catch (error) {
      this.#left.add(path);
      this.#failed();
      throw error;
    }
  }

  /** The same at the end of a scope: the error that ended it is the one to tell, and the collector tries again. */
  async discard(path: string): Promise<void> {
    await this.remove(path).catch(() => {});
  }

  /** What could not be deleted. */
  left(): readonly string[] {
    return [...this.#left];
  }
}
