import { mkdirSync, readdirSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * Records that are newer than the disk's, on a file system that ends with the boot: what happens to a pod between two
 * points of no return (it starts, it runs) need not wait for a disk. Everything here is synchronous, since a tmpfs
 * does not block: a record takes 0.05 ms, where the disk's journal takes one and the thread pool four turns.
 */
export class VolatileCopies {
  readonly #parent: string;
  readonly #boot: string;

  /** `parent`, best on a tmpfs, is this store's own; `bootId` names the one directory in it that counts. */
  constructor(parent: string, bootId: string) {
    this.#parent = parent;
    this.#boot = bootId;
  }

  /** The keys that have a copy. What other boots have left, on a disk, is older than the records there: it is removed. */
  open(): string[] {
    mkdirSync(this.#directory, { recursive: true, mode: 0o700 });
    for (const entry of readdirSync(this.#parent)) {
      if (entry !== this.#boot) rmSync(join(this.#parent, entry), { recursive: true, force: true });
    }
    return readdirSync(this.#directory).filter((name) => !name.startsWith('.'));
  }

  read(key: string): string | undefined {
    try {
      return readFileSync(join(this.#directory, key), 'utf8');
    } catch {
      return undefined;
    }
  }

  /** Atomic for readers after a crash of the daemon. Throws where the file system refuses it: the former stays. */
  write(key: string, text: string): void {
    const temporary = join(this.#directory, '.next');
    try {
      writeFileSync(temporary, text, { mode: 0o600 });
      renameSync(temporary, join(this.#directory, key));
    } catch (error) {
      rmSync(temporary, { force: true }); // a full file system has kept a part of it
      throw error;
    }
  }

  remove(key: string): void {
    rmSync(join(this.#directory, key), { force: true });
  }

  get #directory(): string {
    return join(this.#parent, this.#boot);
  }
}
