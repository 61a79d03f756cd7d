import { readFileSync } from 'node:fs';
import { readdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type BrokenRecord, brokenRecord } from './broken-record.ts';
import { CrispError, errnoOf } from './errors.ts';
import { encode } from './json-record.ts';
import { withDeadline } from './operation.ts';
import type { RecordFiles } from './record-files.ts';
import { NewerRecord, parseRecord, type RecordFormat, type Versioned } from './record-format.ts';
import { RecordWriter } from './record-writer.ts';
import { keepUnreadable } from './unreadable-records.ts';
import type { VolatileCopies } from './volatile-copies.ts';

export type { BrokenRecord } from './broken-record.ts';
export type { Versioned } from './record-format.ts';

export interface RecordStoreOptions<R extends Versioned> extends RecordFormat<R> {
  /** Directory of the store; made at `load`. */
  readonly directory: string;
  readonly files: RecordFiles;
  /** Where changes that need not outlive a power cut are written first; without it all are written to the disk. */
  readonly volatile?: VolatileCopies;
  /** Called when the disk refuses what is in `volatile`; it is tried again. */
  readonly onLate?: (key: string, error: unknown) => void;
  /** Called when `volatile` refuses copies, once while that lasts: each change is then a write to the disk. */
  readonly onRefused?: (error: unknown) => void;
}

export interface Loaded<R> {
  readonly records: ReadonlyMap<string, R>;
  /** Directories whose record is missing or unreadable: shown, never fatal. */
  readonly broken: readonly BrokenRecord[];
  /** Keys of removals that a crash cut short; their directories are swept by `sweep`. */
  readonly removing: readonly string[];
}

const RECORD = 'record.json';
const FLUSH_MS = 5_000;
const REMOVING = '.removing';
/** What `writeAtomic` leaves of a record when it is cut short. */
const UNFINISHED = /^\.record\.json\.[0-9a-f]+\.tmp$/;

/** On a disk with less free space, in bytes, no new object is made. */
const MIN_FREE = 64n << 10n;

/**
 * One directory per object, one versioned `record.json` in it; the directory may hold more of the object's files.
 * A record is replaced atomically, its data on the disk before its name. Removal begins with a rename of the directory to
 * `<key>.removing`: that is its intent, it works on a full disk, and what it leaves is swept at the next start. Values of
 * type bigint are written as `{"$bigint": "…"}`, so that nanoseconds survive.
 *
 * With `volatile` a change that is not durable is committed by a copy there, and written to the disk in the background.
 * The copy, where there is one, is never older than the disk's record (see RecordWriter).
 */
export class RecordStore<R extends Versioned> {
  readonly #options: RecordStoreOptions<R>;
  readonly #writer: RecordWriter;
  /** The objects that have a directory. */
  readonly #keys = new Set<string>();
  /** Those of them whose directory's own name outlives a power cut. */
  readonly #named = new Set<string>();

  constructor(options: RecordStoreOptions<R>) {
    this.#options = options;
    this.#writer = new RecordWriter({
      put: (key, text, durable) => this.#put(key, text, durable),
      sync: (key) => this.#sync(key),
      read: (key) => this.#text(key),
      volatile: options.volatile,
      onLate: (key, error) => options.onLate?.(key, error),
      onRefused: (error) => options.onRefused?.(error),
    });
  }

  /** The object's own directory. */
  directory(key: string): string {
    return join(this.#options.directory, key);
  }

  /** Reads all records. One that cannot be read is reported in `broken` and stops nothing. */
  async load(): Promise<Loaded<R>> {
    await this.#makeDirectory();
    const records = new Map<string, R>();
    const broken: BrokenRecord[] = [];
    const removing: string[] = [];
    const copies = new Set(this.#options.volatile?.open());
    for (const key of await readdir(this.#options.directory)) {
      if (key.endsWith(REMOVING)) {
        removing.push(key.slice(0, -REMOVING.length));
        continue;
      }
      try {
        records.set(key, this.#latest(key, copies));
        this.#keys.add(key);
      } catch (error) {
        const isMissing = errnoOf(error) === 'ENOENT';
        if (isMissing && (await this.#isUnwritten(key))) {
          await this.#options.files.removeTree(this.directory(key));
        } else {
          broken.push(brokenRecord(key, error));
        }
      }
    }
    const kept = new Set([...removing, ...broken.flatMap(({ key, isPassing }) => (isPassing ? [key] : []))]);
    for (const key of copies) if (!this.#keys.has(key) && !kept.has(key)) this.#options.volatile?.remove(key);
    return { records, broken, removing };
  }

  /** The copy's record, which is then written to the disk; where it is missing or malformed, the disk's. */
  #latest(key: string, copies: ReadonlySet<string>): R {
    const text = copies.has(key) ? this.#options.volatile?.read(key) : undefined;
    if (text !== undefined) {
      try {
        const record = this.#parse(text, key);
        this.#writer.adopt(key, text);
        return record;
      } catch (error) {
        if (error instanceof NewerRecord) throw error;
        this.#options.volatile?.remove(key);
      }
    }
    return this.#read(key);
  }

  /** Makes the store's directory; its parents are new only once, and then their names are to last as well. */
  async #makeDirectory(): Promise<void> {
    const { directory, files } = this.#options;
    const uppermost = await files.makeDirectory(directory, 0o700);
    for (let made = directory; uppermost !== undefined; made = dirname(made)) {
      await files.syncDirectory(dirname(made));
      if (made === uppermost || made === dirname(made)) return;
    }
  }

  /** Makes the object's directory where it is missing, then its record, as `write` does. Throws where the disk is full. */
  async create(key: string, record: R, { durable }: { durable: boolean }): Promise<void> {
    if (!durable && this.#options.volatile) {
      await this.#requireFreeSpace();
      return this.createVolatile(key, record);
    }
    await this.#options.files.makeDirectory(this.directory(key), 0o700);
    await this.#writer.through(key, encode(record), durable);
    this.#keys.add(key);
  }

  /** Makes the object as `create` does, but only for the rest of this boot: `persist` must follow. */
  async createVolatile(key: string, record: R): Promise<void> {
    if (!this.#options.volatile) return this.create(key, record, { durable: false });
    await this.#options.files.makeDirectory(this.directory(key), 0o700);
    await this.#writer.quick(key, encode(record));
    this.#keys.add(key);
  }

  /** An object of `createVolatile` is to stay. `durable`: it outlives a power cut, as it is now; else it only checks for free space. */
  persist(key: string, { durable }: { durable: boolean }): Promise<void> {
    return durable || !this.#options.volatile ? this.#writer.persist(key) : this.#requireFreeSpace();
  }

  /** Replaces the record: `durable` on the disk, else by a copy that is written there in the background. A refusal changes nothing. */
  async write(key: string, record: R, { durable }: { durable: boolean }): Promise<void> {
    const isQuick = !durable && this.#options.volatile && this.#keys.has(key);
    const text = encode(record);
    await (isQuick ? this.#writer.quick(key, text) : this.#writer.through(key, text, durable));
  }

  async #requireFreeSpace(): Promise<void> {
    const { directory, files } = this.#options;
    const { available, inodes, inodesFree } = await files.statfs(directory);
    if (available >= MIN_FREE && (inodes === 0n || inodesFree > 0n)) return;
    throw new CrispError('ResourceExhausted', `${directory}: no space left on its file system`, {
      errno: 'ENOSPC',
      hint: 'free space or inodes there',
    });
  }

  /** See `RecordFiles.writeAtomic`. */
  async #put(key: string, text: string, durable: boolean): Promise<void> {
    await this.#options.files.writeAtomic(join(this.directory(key), RECORD), text, { mode: 0o600, durable });
    if (durable) await this.#syncName(key);
  }

  async #sync(key: string): Promise<void> {
    await this.#options.files.syncDirectory(this.directory(key));
    await this.#syncName(key);
  }

  /** A record outlives a power cut where the name of its directory does. */
  async #syncName(key: string): Promise<void> {
    if (this.#named.has(key)) return;
    await this.#options.files.syncDirectory(this.#options.directory);
    this.#named.add(key);
  }

  /**
   * Writes to the disk what only the copies have; what the disk refuses stays in them. Throws DeadlineExceeded, with the
   * same effect, where it does not respond.
   */
  async flush(limitMs = FLUSH_MS): Promise<void> {
    await withDeadline('write records', limitMs, new AbortController().signal, () => this.#writer.flush());
  }

  /** Removes the object: `markRemoved`, then `purge` in the caller's time. */
  async remove(key: string): Promise<void> {
    await this.markRemoved(key);
    await this.purge(key);
  }

  /** The committing step of a removal, a rename: the object is gone, its files are still there. NotFound is success. */
  markRemoved(key: string): Promise<void> {
    return this.#writer.inTurn(key, async () => {
      await this.#rename(this.directory(key), `${this.directory(key)}${REMOVING}`);
      this.#keys.delete(key);
      this.#named.delete(key);
      this.#writer.forget(key);
    });
  }

  async #rename(path: string, removed: string): Promise<void> {
    const { files } = this.#options;
    try {
      await files.rename(path, removed);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') return;
      // The name may be left from an earlier try; remove it and rename again.
      await files.removeTree(removed);
      await files.rename(path, removed);
    }
  }

  /** Deletes the files of a removed object. A missing one is success. */
  purge(key: string): Promise<void> {
    return this.#writer.inTurn(key, async () => {
      await this.#options.files.removeTree(`${this.directory(key)}${REMOVING}`);
      if (!this.#keys.has(key)) this.#options.volatile?.remove(key);
    });
  }

  /** The record of a removed object; undefined where it cannot be read. */
  async removed(key: string): Promise<R | undefined> {
    const text = this.#keys.has(key) ? undefined : this.#options.volatile?.read(key);
    try {
      return text === undefined ? this.#read(key, `${key}${REMOVING}`) : this.#parse(text, key);
    } catch {
      return undefined;
    }
  }

  /** Deletes the files of removals that were cut short. */
  async sweep(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.purge(key);
  }

  /**
   * Moves what is in the place of a record, of a removed object's too, away: returns the path where it is kept for
   * inspection, or undefined where there is nothing.
   */
  keepUnreadable(key: string): Promise<string | undefined> {
    const { directory, files } = this.#options;
    const place = join(dirname(directory), 'unreadable');
    return this.#writer.inTurn(key, async () => {
      for (const name of [key, `${key}${REMOVING}`]) {
        const path = join(directory, name, RECORD);
        const kept = await keepUnreadable(files, path, place, `${basename(directory)}-${key}.json`);
        if (kept !== undefined) return kept;
      }
      return undefined;
    });
  }

  /** Whether a crash came between the making of the directory and its first record: then nothing else was done. */
  async #isUnwritten(key: string): Promise<boolean> {
    const files = await readdir(this.directory(key)).catch(() => ['no directory']);
    return files.every((file) => UNFINISHED.test(file));
  }

  /** Synchronous: at the start no other work waits, and a turn of the thread pool costs ten times the read. */
  #text(directory: string): string {
    return readFileSync(join(this.directory(directory), RECORD), 'utf8');
  }

  #read(key: string, directory = key): R {
    return this.#parse(this.#text(directory), key);
  }

  #parse(text: string, key: string): R {
    return parseRecord(this.#options, text, key);
  }
}
