import { constants, lstat, open } from 'node:fs/promises';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fault } from './fault.ts';
import { FILE_LIMIT } from './toml-file.ts';

interface Cached<T> {
  readonly identity: string;
  /** The value, or the error of parsing. */
  readonly result: { readonly value: T } | { readonly error: unknown };
}

/** What files contain, parsed again only when a file is another one or was written to. */
export class FileCache<T> {
  readonly #parse: (text: string, path: string) => T;
  readonly #known = new Map<string, Cached<T>>();

  constructor(parse: (text: string, path: string) => T) {
    this.#parse = parse;
  }

  /** Undefined where the file does not exist. Throws FailedPrecondition where it cannot be read or parsed. */
  async read(path: string): Promise<T | undefined> {
    let found: Cached<T> | undefined;
    try {
      found = await this.#load(path);
    } catch (error) {
      this.#known.delete(path);
      // What it would say is not known: it may block a registry, or name its mirrors.
      if (errnoOf(error) === 'ENOENT' && (await isLink(path))) throw fault(path, 'it is a link to nothing');
      if (errnoOf(error) === 'ENOENT' || errnoOf(error) === 'ENOTDIR') return undefined;
      if (error instanceof CrispError) throw error;
      throw fault(path, `it cannot be read (${errnoOf(error)})`);
    }
    this.#known.set(path, found);
    if ('error' in found.result) throw found.result.error;
    return found.result.value;
  }

  async #load(path: string): Promise<Cached<T>> {
    // Without waiting for the writer of a fifo.
    await using file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK);
    const stat = await file.stat({ bigint: true });
    if (!stat.isFile()) throw fault(path, 'it is not a regular file');
    if (stat.size > BigInt(FILE_LIMIT)) throw fault(path, `it is larger than ${FILE_LIMIT} bytes`);
    const identity = [stat.dev, stat.ino, stat.size, stat.mtimeNs, stat.ctimeNs].join(' ');
    const known = this.#known.get(path);
    if (known?.identity === identity) return known;
    const text = await file.readFile('utf8');
    try {
      return { identity, result: { value: this.#parse(text, path) } };
    } catch (error) {
      return { identity, result: { error } };
    }
  }
}

const isLink = async (path: string): Promise<boolean> =>
  (await lstat(path).catch(() => undefined))?.isSymbolicLink() ?? false;
