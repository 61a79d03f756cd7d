import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { Semaphore } from '../semaphore.ts';

/** Trees that are deleted at once: each large one takes a thread. */
const TREES = 2;
/** The same of single files in a directory: they do not wait for trees. */
const FILES = 8;

/** Where blobs and layers are created; on the file system of the stores, so that a rename moves them there. */
export class Staging {
  readonly #directory: string;
  readonly #files: Files;
  readonly #trees = new Semaphore(TREES);
  readonly #single = new Semaphore(FILES);
  readonly #leftovers = new Set<string>();

  readonly #failed: () => void;

  /** `failed`: called when something could not be deleted. */
  constructor(directory: string, files: Files, failed: () => void) {
    this.#directory = directory;
    this.#files = files;
    this.#failed = failed;
  }

  /** Creates the directory and returns the leftovers of an earlier process. */
  async open(): Promise<string[]> {
    await naming(`make ${this.#directory}`, () => mkdir(this.#directory, { recursive: true, mode: 0o700 }));
    return (await readdir(this.#directory)).map((name) => join(this.#directory, name));
  }

  /** A path that does not exist yet. */
  path(kind: 'blob' | 'layer' | 'archive'): string {
    return join(this.#directory, `${kind}-${randomBytes(8).toString('hex')}`);
  }

  /** Deletes a path, off the main thread; missing is success. What cannot be deleted is in `leftovers()`. `isTree`: of many files. */
  async remove(path: string, { isTree = true } = {}): Promise<void> {
    using _permit = await (isTree ? this.#trees : this.#single).acquire();
    this.#leftovers.delete(path);
    try {
      await this.#files.removeTree(path);
    } catch (error) {
      this.#leftovers.add(path);
      this.#failed();
      throw error;
    }
  }

  /** The same at the end of a scope: the error that ended it is the one to report, and the garbage collector retries. */
  async discard(path: string, of: { readonly isTree?: boolean } = {}): Promise<void> {
    await this.remove(path, of).catch(() => {});
  }

  /** What could not be deleted. */
  leftovers(): readonly string[] {
    return [...this.#leftovers];
  }
}
