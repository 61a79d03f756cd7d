import { hostile, shown, type TarEntry, type TarHandler } from './entry.ts';
import { partsOf } from './names.ts';
import { WHITEOUT_PREFIX } from './whiteout.ts';

/**
 * Passes the entries of a packed directory of an artifact on. All are below the directory's name, as oras packs them; there are
 * no devices, and no deletions of what is below, since there is nothing below.
 */
export class DirectoryGuard implements TarHandler {
  readonly #inner: TarHandler;
  /** Characters are bytes, as in all names of archives. */
  readonly #directory: readonly string[];
  #skips = false;

  constructor(inner: TarHandler, directory: readonly string[]) {
    this.#inner = inner;
    this.#directory = directory;
  }

  entry(entry: TarEntry): void {
    const parts = partsOf(entry.name, 'a name');
    // Entries of the directories above it are of no use.
    this.#skips = entry.type === 'directory' && parts.length < this.#directory.length && this.#fits(parts);
    if (this.#skips) return;
    this.#check(parts, entry.name, 'a name');
    if (entry.type === 'hardlink') this.#check(partsOf(entry.link, 'a target'), entry.link, 'a hard link');
    if (!['file', 'directory', 'symlink', 'hardlink'].includes(entry.type))
      throw hostile(`a ${entry.type} in the directory of an artifact: ${shown(entry.name)}`);
    if (parts.at(-1)?.startsWith(WHITEOUT_PREFIX))
      throw hostile(`a whiteout in the directory of an artifact: ${shown(entry.name)}`);
    this.#inner.entry(entry);
  }

  data(piece: Uint8Array): void {
    this.#inner.data(piece);
  }

  hole(length: number): void {
    this.#inner.hole?.(length);
  }

  entryEnd(): void {
    if (!this.#skips) this.#inner.entryEnd();
  }

  #check(parts: readonly string[], name: string, what: string): void {
    if (parts.length < this.#directory.length || !this.#fits(parts))
      throw hostile(`${what} outside of its directory ${shown(this.#directory.join('/'))}: ${shown(name)}`);
  }

  /** Whether the parts are above or below the directory, or are it. */
  #fits(parts: readonly string[]): boolean {
    return this.#directory.every((part, at) => parts[at] === undefined || parts[at] === part);
  }
}
