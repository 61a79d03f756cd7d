import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, mkdir, open, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Digest } from '#core/ids.ts';
import { TarReader } from '#core/tar/reader.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Staging } from '../store/staging.ts';
import { damaged, hostile, shown, type TarEntry, type TarHandler } from '../unpack/entry.ts';
import { partsOf } from '../unpack/names.ts';

/** A file of the archive that is being imported into the store. */
export interface SpooledFile {
  readonly path: string;
  readonly size: number;
  readonly digest: Digest;
  /** The first four bytes, or fewer. */
  readonly head: Buffer;
}

/** Entries of one archive: images of hundreds of layers have a few thousand. */
const MAX_ENTRIES = 50_000;
/** Links that a name may pass through. */
const MAX_LINKS = 8;
const BLOB = /^blobs\/sha256\/([0-9a-f]{64})$/;

type Task =
  | { readonly act: 'open'; readonly name: string }
  | { readonly act: 'write'; readonly piece: Uint8Array }
  | { readonly act: 'close'; readonly name: string };

interface OpenFile {
  readonly path: string;
  readonly file: FileHandle;
  readonly hash: Hash;
  size: number;
  head: Buffer;
}

/**
 * An archive's files in the staging directory, each with its digest. What an archive names (`manifest.json`,
 * `index.json`) may be at any position, so all of it is received before anything is read. Deleted at the end of the
 * scope, except for what the store has adopted.
 */
export class Spool implements AsyncDisposable, TarHandler {
  readonly #directory: string;
  readonly #staging: Staging;
  readonly #files = new Map<string, SpooledFile>();
  /** Where a link of the archive points, within the archive. */
  readonly #links = new Map<string, string>();
  #entries = 0;
  #created = 0;
  #name = '';
  #tasks: Task[] = [];
  #open: OpenFile | undefined;

  private constructor(staging: Staging) {
    this.#staging = staging;
    this.#directory = staging.path('archive');
  }

  /**
   * Receives the whole archive. Throws DataLoss where it is truncated or damaged or a blob does not have the digest of its name,
   * InvalidArgument where an entry's name or link leads outside or an entry is neither file, directory nor link.
   */
  static async read(source: AsyncIterable<Buffer>, staging: Staging, signal: AbortSignal): Promise<Spool> {
    const spool = new Spool(staging);
    try {
      await naming(`create ${spool.#directory}`, () => mkdir(spool.#directory, { mode: 0o700 }));
      const reader = new TarReader(spool);
      for await (const piece of source) {
        signal.throwIfAborted();
        reader.write(piece);
        await spool.#work();
      }
      reader.end();
      // Every tool that makes image archives ends them; between two entries nothing else shows that one is truncated.
      if (!reader.ended) throw damaged('it is truncated: the blocks that end an archive are missing');
      return spool;
    } catch (error) {
      await spool[Symbol.asyncDispose]();
      throw error;
    }
  }

  /** The file of this name, through the archive's own links. */
  file(name: string): SpooledFile | undefined {
    let at = partsOf(name, 'name').join('/');
    for (let n = 0; n <= MAX_LINKS; n++) {
      const link = this.#links.get(at);
      if (link === undefined) return this.#files.get(at);
      at = link;
    }
    throw hostile(`too many links: ${shown(name)}`);
  }

  /** The bytes of a small file; undefined where there is none. Throws DataLoss for one beyond the limit. */
  async small(name: string, limit: number): Promise<Buffer | undefined> {
    const file = this.file(name);
    if (!file) return undefined;
    if (file.size > limit) throw damaged(`${shown(name)} has ${file.size} bytes, more than ${limit}`);
    return this.bytes(file);
  }

  /** The bytes of a file whose size the caller has checked. */
  bytes(file: SpooledFile): Promise<Buffer> {
    return naming(`read ${file.path}`, () => readFile(file.path));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const open = this.#open;
    this.#open = undefined;
    try {
      await open?.file.close();
    } finally {
      await this.#staging.discard(this.#directory);
    }
  }

  entry(entry: TarEntry): void {
    if (++this.#entries > MAX_ENTRIES) throw hostile(`more than ${MAX_ENTRIES} entries`);
    this.#name = '';
    const name = partsOf(entry.name, 'name').join('/');
    if (entry.type === 'directory') return;
    if (name === '' || this.#files.has(name) || this.#links.has(name)) {
      throw hostile(`an entry is duplicate or has no name: ${shown(entry.name)}`);
    }
    if (entry.type === 'symlink') this.#links.set(name, within(entry.link, name.split('/').slice(0, -1)));
    else if (entry.type === 'hardlink') this.#links.set(name, within(entry.link, []));
    else if (entry.type !== 'file') throw hostile(`a ${entry.type} device or pipe: ${shown(entry.name)}`);
    else {
      this.#name = name;
      // Known from here on, so that a second entry of this name is detected; the rest is filled in when it ends.
      this.#files.set(name, { path: '', size: 0, digest: '' as Digest, head: Buffer.alloc(0) });
      this.#tasks.push({ act: 'open', name });
    }
  }

  data(piece: Uint8Array): void {
    if (this.#name !== '') this.#tasks.push({ act: 'write', piece });
  }

  entryEnd(): void {
    if (this.#name !== '') this.#tasks.push({ act: 'close', name: this.#name });
    this.#name = '';
  }

  /** Runs the tasks of the piece that was just parsed: the pieces stay valid until the next one is read. */
  async #work(): Promise<void> {
    const tasks = this.#tasks;
    this.#tasks = [];
    for (const task of tasks) {
      if (task.act === 'open') await this.#begin(task.name);
      else if (task.act === 'write') await this.#write(task.piece);
      else await this.#end(task.name);
    }
  }

  async #begin(name: string): Promise<void> {
    const path = join(this.#directory, String(this.#created++));
    const file = await naming(`create ${path} for ${shown(name)}`, () => open(path, 'wx', 0o600));
    this.#open = { path, file, hash: createHash('sha256'), size: 0, head: Buffer.alloc(0) };
  }

  async #write(piece: Uint8Array): Promise<void> {
    const open = this.#open;
    if (!open) return;
    open.hash.update(piece);
    if (open.head.length < 4) open.head = Buffer.concat([open.head, piece.subarray(0, 4 - open.head.length)]);
    await naming('write the files of an image archive', async () => {
      for (let at = 0; at < piece.length; ) {
        const { bytesWritten } = await open.file.write(piece, at, piece.length - at, open.size);
        at += bytesWritten;
        open.size += bytesWritten;
      }
    });
  }

  async #end(name: string): Promise<void> {
    const open = this.#open;
    if (!open) return;
    this.#open = undefined;
    await open.file.close();
    const digest = `sha256:${open.hash.digest('hex')}` as Digest;
    const claimed = BLOB.exec(name)?.[1];
    if (claimed !== undefined && digest !== `sha256:${claimed}`) {
      throw damaged(`blob sha256:${claimed}: its bytes do not have this digest`);
    }
    this.#files.set(name, { path: open.path, size: open.size, digest, head: open.head });
  }
}

/** A link's target as a name of the archive, whose top is `/`. Throws InvalidArgument where it leads outside. */
function within(link: string, directory: readonly string[]): string {
  if (link === '') throw hostile('a link without a target');
  const parts = link.startsWith('/') ? [] : [...directory];
  for (const part of link.split('/')) {
    if (part === '' || part === '.') continue;
    if (part !== '..') parts.push(part);
    else if (parts.pop() === undefined) throw hostile(`a link leads outside: ${shown(link)}`);
  }
  return partsOf(parts.join('/') || '.', 'link').join('/');
}
