import { readFileSync } from 'node:fs';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Files } from '#linux/kernel.ts';
import { CrispError, describeError, errnoOf } from './errors.ts';
import { decode, encode } from './json-record.ts';
import { withDeadline } from './operation.ts';
import type { RecentRecords } from './recent-records.ts';
import { WriteBehind } from './write-behind.ts';

/** What every record begins with. */
export interface Versioned {
  /** The format's number; a store reads its own and, through `migrate`, older ones. */
  readonly version: number;
}

export interface RecordStoreOptions<R extends Versioned> {
  /** Directory of the store; made at `load`. */
  readonly directory: string;
  readonly version: number;
  /** Turns the record of an older version into today's; throws where it cannot. */
  readonly migrate?: (record: Versioned) => R;
  /** Checks a parsed record's shape; throws with the reason. */
  readonly check?: (record: R, key: string) => void;
  readonly files: Files;
  /** Where changes that need not outlive a power cut are written first; without it all are written to the disk. */
  readonly recent?: RecentRecords;
  /** Told when the disk refuses what is in `recent`; it is tried again. */
  readonly onLate?: (key: string, error: unknown) => void;
}

export interface Loaded<R> {
  readonly records: ReadonlyMap<string, R>;
  /** Directories whose record is missing or unreadable: shown, never fatal. */
  readonly broken: readonly { key: string; reason: string }[];
  /** Keys of removals that a crash cut short; their directories are swept by `sweep`. */
  readonly removing: readonly string[];
}

const RECORD = 'record.json';
const FLUSH_MS = 5_000;
const REMOVING = '.removing';
/** What `Files.writeAtomic` leaves of a record when it is cut short. */
const UNFINISHED = /^\.record\.json\.[0-9a-f]+\.tmp$/;

/**
 * One directory per object, one versioned `record.json` in it; the directory may hold more of the object's files.
 * A record is replaced atomically. Removal begins with a rename of the directory to `<key>.removing`: that is its
 * intent, it works on a full disk, and what it leaves is swept at the next start. Values of type bigint are written
 * as `{"$bigint": "…"}`, so that nanoseconds survive.
 *
 * With `recent` a change that is not durable is committed by a copy there, and brought to the disk behind the caller.
 * The copy, where there is one, is never older than the disk's record: a durable change is written to it as well.
 */
export class RecordStore<R extends Versioned> {
  readonly #options: RecordStoreOptions<R>;
  readonly #behind: WriteBehind;
  /** The objects that have a directory. */
  readonly #keys = new Set<string>();

  constructor(options: RecordStoreOptions<R>) {
    this.#options = options;
    this.#behind = new WriteBehind({
      write: (key, text) => this.#put(key, text, false),
      onWritten: (key) => options.recent?.remove(key),
      onError: (key, error) => options.onLate?.(key, error),
    });
  }

  /** The object's own directory. */
  directory(key: string): string {
    return join(this.#options.directory, key);
  }

  /** Reads all records. One that cannot be read is reported in `broken` and stops nothing. */
  async load(): Promise<Loaded<R>> {
    await mkdir(this.#options.directory, { recursive: true, mode: 0o700 });
    const records = new Map<string, R>();
    const broken: { key: string; reason: string }[] = [];
    const removing: string[] = [];
    const copies = new Set(this.#options.recent?.open());
    for (const key of await readdir(this.#options.directory)) {
      if (key.endsWith(REMOVING)) {
        removing.push(key.slice(0, -REMOVING.length));
        continue;
      }
      try {
        records.set(key, this.#latest(key, copies));
        this.#keys.add(key);
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' && (await this.#isUnwritten(key))) {
          await this.#options.files.removeTree(this.directory(key));
        } else broken.push({ key, reason: describeError(error) });
      }
    }
    for (const key of copies)
      if (!this.#keys.has(key) && !removing.includes(key)) this.#options.recent?.remove(key);
    return { records, broken, removing };
  }

  /** What the copy says, which is then brought to the disk; where there is none, or no record in it, the disk. */
  #latest(key: string, copies: ReadonlySet<string>): R {
    const text = copies.has(key) ? this.#options.recent?.read(key) : undefined;
    if (text !== undefined) {
      try {
        const record = this.#parse(text, key);
        this.#behind.later(key, text);
        return record;
      } catch {
        this.#options.recent?.remove(key);
      }
    }
    return this.#read(key);
  }

  /** Makes the object's directory where it is missing, then writes its record. */
  async create(key: string, record: R, options: { durable: boolean }): Promise<void> {
    await mkdir(this.directory(key), { recursive: true, mode: 0o700 });
    await this.#put(key, encode(record), options.durable);
    this.#keys.add(key);
    if (options.durable) await this.#syncNames();
  }

  /** Makes the object as `create` does, but only for the rest of this boot: `settle` is due. */
  async announce(key: string, record: R): Promise<void> {
    const { recent } = this.#options;
    if (!recent) return this.create(key, record, { durable: false });
    const text = encode(record);
    await mkdir(this.directory(key), { recursive: true, mode: 0o700 });
    recent.write(key, text);
    this.#keys.add(key);
    this.#behind.later(key, text);
  }

  /** Brings an announced object to the disk, as it is now; `durable`: so that it outlives a power cut. */
  async settle(key: string, { durable }: { durable: boolean }): Promise<void> {
    const text = this.#options.recent?.read(key) ?? this.#text(key);
    await this.#overtake(key, text, async () => {
      await this.#put(key, text, durable);
      if (durable) await this.#syncNames();
    });
  }

  /** Replaces the record, as `put` does, or by a copy that is brought to the disk behind. A refusal changes nothing. */
  async write(key: string, record: R, { durable }: { durable: boolean }): Promise<void> {
    const { recent } = this.#options;
    const text = encode(record);
    if (!recent || !this.#keys.has(key)) return this.#put(key, text, durable);
    const before = durable ? recent.read(key) : undefined;
    recent.write(key, text);
    if (!durable) return this.#behind.later(key, text);
    await this.#overtake(key, before, () => this.#put(key, text, true));
  }

  /** Writes to the disk in the place of what waits for it; `before`: the copy that stays where the disk refuses. */
  async #overtake(key: string, before: string | undefined, put: () => Promise<void>): Promise<void> {
    await this.#behind.cancel(key);
    try {
      await put();
    } catch (error) {
      this.#setCopy(key, before);
      throw error;
    }
    this.#setCopy(key, undefined);
  }

  /** What such a change leaves as the copy, where no other change has come meanwhile. */
  #setCopy(key: string, text: string | undefined): void {
    const { recent } = this.#options;
    if (this.#behind.has(key)) return;
    if (text === undefined) {
      recent?.remove(key);
    } else {
      recent?.write(key, text);
      this.#behind.later(key, text);
    }
  }

  /** Temporary file, (durable: fsync), rename, (durable: fsync of the directory). */
  async #put(key: string, text: string, durable: boolean): Promise<void> {
    await this.#options.files.writeAtomic(join(this.directory(key), RECORD), text, { mode: 0o600, durable });
  }

  /** The names of objects outlive a power cut. */
  #syncNames(): Promise<void> {
    return this.#options.files.syncDirectory(this.#options.directory);
  }

  /**
   * Brings to the disk what only the copies say; what the disk refuses stays in them. Throws DeadlineExceeded, with the
   * same effect, where it does not answer.
   */
  async flush(limitMs = FLUSH_MS): Promise<void> {
    await withDeadline('write records', limitMs, new AbortController().signal, () => this.#behind.flush());
  }

  /** Removes the object: `retire`, then `discard` in the caller's time. */
  async remove(key: string): Promise<void> {
    await this.retire(key);
    await this.discard(key);
  }

  /** The committing step of a removal, a rename: the object is gone, its files are still there. NotFound is success. */
  async retire(key: string): Promise<void> {
    const doomed = `${this.directory(key)}${REMOVING}`;
    await this.#behind.cancel(key);
    this.#keys.delete(key);
    try {
      await rename(this.directory(key), doomed);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') {
        // The doomed name may be left from an earlier try; sweep it and rename again.
        await this.#options.files.removeTree(doomed);
        await rename(this.directory(key), doomed);
      }
    }
  }

  /** Deletes the files of a retired object. A missing one is success. */
  async discard(key: string): Promise<void> {
    await this.#options.files.removeTree(`${this.directory(key)}${REMOVING}`);
    if (!this.#keys.has(key)) this.#options.recent?.remove(key);
  }

  /** The record of a retired object; undefined where it cannot be read. */
  async retired(key: string): Promise<R | undefined> {
    const text = this.#keys.has(key) ? undefined : this.#options.recent?.read(key);
    try {
      return text === undefined ? this.#read(key, `${key}${REMOVING}`) : this.#parse(text, key);
    } catch {
      return undefined;
    }
  }

  /** Deletes the files of removals that were cut short. */
  async sweep(keys: readonly string[]): Promise<void> {
    for (const key of keys) await this.discard(key);
  }

  /** Whether a crash came between the making of the directory and its first record: then nothing else was done. */
  async #isUnwritten(key: string): Promise<boolean> {
    const files = await readdir(this.directory(key)).catch(() => ['no directory']);
    return files.every((file) => UNFINISHED.test(file));
  }

  /** Synchronous: at the start nobody waits for anything else, and a turn of the thread pool costs ten times the read. */
  #text(directory: string): string {
    return readFileSync(join(this.directory(directory), RECORD), 'utf8');
  }

  #read(key: string, directory = key): R {
    return this.#parse(this.#text(directory), key);
  }

  #parse(text: string, key: string): R {
    const { version, migrate, check } = this.#options;
    const record = decode(text) as Versioned;
    if (typeof record !== 'object' || record === null || typeof record.version !== 'number') {
      throw new CrispError('DataLoss', `record of ${key} has no version`);
    }
    if (record.version > version || (record.version < version && !migrate)) {
      throw new CrispError(
        'DataLoss',
        `record of ${key} has version ${record.version}, this crisp reads ${version}`,
      );
    }
    const current = record.version === version ? (record as R) : (migrate?.(record) as R);
    check?.(current, key);
    return current;
  }
}
