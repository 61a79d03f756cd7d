import { randomBytes } from 'node:crypto';
import { mkdir, readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { naming } from '#linux/errno.ts';
import type { Files } from '#linux/kernel.ts';

/** Where blobs and layers are made; on the file system of the stores, so that a rename moves them there. */
export class Staging {
  readonly #directory: string;
  readonly #files: Files;

  constructor(directory: string, files: Files) {
    this.#directory = directory;
    this.#files = files;
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

  /** Deletes what is left at a path; off the main thread, missing is success. */
  remove(path: string): Promise<void> {
    return this.#files.removeTree(path);
  }
}
