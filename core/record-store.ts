import { readFileSync } from 'node:fs';
import { mkdir, readdir, rename } from 'node:fs/promises';
import { join } from 'node:path';
import type { Files } from '#linux/kernel.ts';
import { CrispError, describeError, errnoOf } from './errors.ts';

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
}

export interface Loaded<R> {
  readonly records: ReadonlyMap<string, R>;
  /** Directories whose record is missing or unreadable: shown, never fatal. */
  readonly broken: readonly { key: string; reason: string }[];
  /** Keys of removals that a crash cut short; their directories are swept by `sweep`. */
  readonly removing: readonly string[];
}

const RECORD = 'record.json';
const REMOVING = '.removing';
/** What `Files.writeAtomic` leaves of a record when it is cut short. */
const UNFINISHED = /^\.record\.json\.[0-9a-f]+\.tmp$/;

/**
 * One directory per object, one versioned `record.json` in it; the directory may hold more of the object's files.
 * A record is replaced atomically. Removal begins with a rename of the directory to `<key>.removing`: that is its
 * intent, it works on a full disk, and what it leaves is swept at the next start. Values of type bigint are written
 * as `{"$bigint": "…"}`, so that nanoseconds survive.
 */
export class RecordStore<R extends Versioned> {
  readonly #options: RecordStoreOptions<R>;

  constructor(options: RecordStoreOptions<R>) {
    this.#options = options;
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
    for (const key of await readdir(this.#options.directory)) {
      if (key.endsWith(REMOVING)) {
        removing.push(key.slice(0, -REMOVING.length));
        continue;
      }
      try {
        records.set(key, this.#read(key));
      } catch (error) {
        if (errnoOf(error) === 'ENOENT' && (await this.#isUnwritten(key))) {
          await this.#options.files.removeTree(this.directory(key));
        } else broken.push({ key, reason: describeError(error) });
      }
    }
    return { records, broken, removing };
  }

  /** Makes the object's directory where it is missing, then writes its record. */
  async create(key: string, record: R, options: { durable: boolean }): Promise<void> {
    await mkdir(this.directory(key), { recursive: true, mode: 0o700 });
    await this.write(key, record, options);
    if (options.durable) await this.#options.files.syncDirectory(this.#options.directory);
  }

  /** Replaces the record: temporary file, (durable: fsync), rename, (durable: fsync of the directory). */
  async write(key: string, record: R, options: { durable: boolean }): Promise<void> {
    await this.#options.files.writeAtomic(join(this.directory(key), RECORD), encode(record), {
      mode: 0o600,
      durable: options.durable,
    });
  }

  /** Removes the object: `retire`, then `discard` in the caller's time. */
  async remove(key: string): Promise<void> {
    await this.retire(key);
    await this.discard(key);
  }

  /** The committing step of a removal, a rename: the object is gone, its files are still there. NotFound is success. */
  async retire(key: string): Promise<void> {
    const doomed = `${this.directory(key)}${REMOVING}`;
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
  discard(key: string): Promise<void> {
    return this.#options.files.removeTree(`${this.directory(key)}${REMOVING}`);
  }

  /** The record of a retired object; undefined where it cannot be read. */
  async retired(key: string): Promise<R | undefined> {
    try {
      return this.#read(key, `${key}${REMOVING}`);
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
  #read(key: string, directory = key): R {
    const { version, migrate, check } = this.#options;
    const record = decode(readFileSync(join(this.directory(directory), RECORD), 'utf8')) as Versioned;
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

/**
 * JSON with bigint: `5n` is `{"$bigint": "5"}`. A client's own key of that form gets one more `$`, so that a label
 * named `$bigint` comes back as it was.
 */
export const encode = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return { [BIGINT]: item.toString() };
    return isObject(item) && Object.keys(item).some(isEscapable)
      ? renameKeys(item, (key) => `$${key}`)
      : item;
  });

/** The inverse of `encode`. Keys such as `__proto__` stay ordinary keys. */
export const decode = (text: string): unknown =>
  JSON.parse(text, (_key, item: unknown) => {
    if (!isObject(item)) return item;
    const big = Object.hasOwn(item, BIGINT) ? item[BIGINT] : undefined;
    if (typeof big === 'string') return BigInt(big);
    return Object.keys(item).some(isEscapable) ? renameKeys(item, (key) => key.slice(1)) : item;
  });

const BIGINT = '$bigint';
const isEscapable = (key: string): boolean => /^\$+bigint$/.test(key);
const isObject = (item: unknown): item is Readonly<Record<string, unknown>> =>
  typeof item === 'object' && item !== null && !Array.isArray(item);

const renameKeys = (item: Readonly<Record<string, unknown>>, rename: (key: string) => string): object =>
  Object.fromEntries(
    Object.entries(item).map(([key, entry]) => [isEscapable(key) ? rename(key) : key, entry]),
  );
