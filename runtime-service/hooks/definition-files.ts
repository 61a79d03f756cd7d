/** Directories in which operators and vendors put definitions, one file each: CDI specs, OCI hooks. */
import { readdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { openRegular } from '#linux/fs/regular-file.ts';

const MAX_BYTES = 4 << 20;
const WRITABLE_BY_ALL = 0o002;

/** One file: its definition, or why it cannot be used. */
export interface Definition<T> {
  readonly file: string;
  readonly name: string;
  /** Index of its directory: a later one has precedence. */
  readonly priority: number;
  readonly value: T | CrispError;
}

interface Cached<T> {
  readonly identity: string;
  readonly value: T | CrispError;
}

/**
 * Reads the files with one of the endings, and again only those that have changed (inode, size, times). A missing
 * directory is an empty one. A file that cannot be used keeps its error, for the containers that need it.
 */
export class DefinitionFiles<T> {
  readonly #directories: readonly string[];
  readonly #endings: readonly string[];
  readonly #parse: (file: string, text: string) => T | Promise<T>;
  #cache = new Map<string, Cached<T>>();

  /** `parse` throws CrispError, naming the file. */
  constructor(
    directories: readonly string[],
    endings: readonly string[],
    parse: (file: string, text: string) => T | Promise<T>,
  ) {
    this.#directories = directories;
    this.#endings = endings;
    this.#parse = parse;
  }

  /** All of them, by directory and then by name. */
  async read(): Promise<Definition<T>[]> {
    const found: Definition<T>[] = [];
    const cache = new Map<string, Cached<T>>();
    const names = await Promise.all(this.#directories.map(namesIn));
    for (const [priority, directory] of this.#directories.entries()) {
      for (const name of names[priority] ?? []) {
        if (!this.#endings.some((ending) => name.endsWith(ending))) continue;
        const file = join(directory, name);
        const entry = await this.#load(file);
        if (!entry) continue;
        cache.set(file, entry);
        found.push({ file, name, priority, value: entry.value });
      }
    }
    this.#cache = cache;
    return found;
  }

  async #load(file: string): Promise<Cached<T> | undefined> {
    try {
      const { dev, ino, size, mtimeMs, ctimeMs } = await stat(file);
      const identity = `${dev}:${ino}:${size}:${mtimeMs}:${ctimeMs}`;
      const known = this.#cache.get(file);
      if (known?.identity === identity) return known;
      return { identity, value: await this.#parse(file, await readDefinition(file)) };
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return undefined; // gone between readdir and here, or a dangling link
      const value =
        error instanceof CrispError
          ? error
          : new CrispError('FailedPrecondition', `${file} cannot be read: ${describeError(error)}`, {
              cause: error,
              hint: 'fix the file, or remove it',
            });
      return { identity: '', value };
    }
  }
}

async function namesIn(directory: string): Promise<string[]> {
  try {
    return (await readdir(directory)).sort();
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new CrispError('FailedPrecondition', `${directory} cannot be read: ${describeError(error)}`, {
      cause: error,
      hint: 'make it a directory that the daemon can read, or name another one in the configuration',
    });
  }
}

/** These definitions apply to containers with the daemon's rights: the file must be root's own. */
export async function readDefinition(file: string): Promise<string> {
  await using handle = await openRegular(file);
  const refuse = (why: string) =>
    new CrispError('FailedPrecondition', `${file} ${why}`, {
      hint: 'make it a file of root with mode 0644, or remove it',
    });
  if (!handle) throw refuse('is not a regular file');
  const { mode, size, uid } = await handle.stat();
  if (uid !== 0 || (mode & WRITABLE_BY_ALL) !== 0) throw refuse('is writable by users other than root');
  if (size > MAX_BYTES) throw refuse(`is larger than ${MAX_BYTES} bytes`);
  return await handle.readFile('utf8');
}
