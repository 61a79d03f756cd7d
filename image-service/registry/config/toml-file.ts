/** TOML files of other programs: typed access to their tables, and the line of each key. */
import { parse as parseToml, TomlError } from 'smol-toml';
import { joinPath, locateKeys } from '#core/toml/locate.ts';
import { fault } from './fault.ts';

/** Bytes of a file beyond which it is not read. */
export const FILE_LIMIT = 1 << 20;

const isTable = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value) && !(value instanceof Date);

/** A table of a file. Keys that are absent are undefined; keys of another type are faults with their line. */
export class TomlTable {
  readonly #path: string;
  readonly #keys: readonly string[];
  readonly #table: Record<string, unknown>;
  readonly #lines: ReadonlyMap<string, number>;

  private constructor(
    path: string,
    keys: readonly string[],
    table: Record<string, unknown>,
    lines: ReadonlyMap<string, number>,
  ) {
    this.#path = path;
    this.#keys = keys;
    this.#table = table;
    this.#lines = lines;
  }

  /** Parses the text of a file. Throws FailedPrecondition with file and line. */
  static parse(text: string, path: string): TomlTable {
    if (text.length > FILE_LIMIT) throw fault(path, `it is larger than ${FILE_LIMIT} bytes`);
    try {
      const value = parseToml(text, { integersAsBigInt: 'asNeeded' });
      return new TomlTable(path, [], value, locateKeys(text));
    } catch (error) {
      if (error instanceof TomlError) {
        const reason = error.message.split('\n')[0]?.replace('Invalid TOML document: ', '');
        throw fault(`${path}:${error.line}`, `not TOML: ${reason}`);
      }
      throw error;
    }
  }

  get keys(): readonly string[] {
    return Object.keys(this.#table);
  }

  /** `file:line` of a key of this table, or of the table. */
  at(...below: readonly string[]): string {
    const keys = [...this.#keys, ...below];
    for (let length = keys.length; length > 0; length--) {
      const line = this.#lines.get(joinPath(keys.slice(0, length)));
      if (line !== undefined) return `${this.#path}:${line}`;
    }
    // A table that is only implied, by the header of one below it, has the line of that.
    const implied = `${joinPath(keys)}\0`;
    const first = keys.length > 0 && [...this.#lines].find(([key]) => key.startsWith(implied));
    return first ? `${this.#path}:${first[1]}` : this.#path;
  }

  has(key: string): boolean {
    return Object.hasOwn(this.#table, key);
  }

  /** The value as it is in the file. */
  raw(key: string): unknown {
    return this.has(key) ? this.#table[key] : undefined;
  }

  text(key: string): string | undefined {
    return this.#read(key, 'a string', (value): value is string => typeof value === 'string');
  }

  flag(key: string): boolean | undefined {
    return this.#read(key, 'true or false', (value): value is boolean => typeof value === 'boolean');
  }

  texts(key: string): readonly string[] | undefined {
    return this.#read(
      key,
      'a list of strings',
      (value): value is string[] => Array.isArray(value) && value.every((item) => typeof item === 'string'),
    );
  }

  table(key: string): TomlTable | undefined {
    const value = this.#read(key, 'a table', isTable);
    return value && this.#below([key], value);
  }

  /** An array of tables: `[[key]]`. */
  tables(key: string): readonly TomlTable[] {
    const value = this.#read(
      key,
      'an array of tables',
      (found): found is Record<string, unknown>[] => Array.isArray(found) && found.every(isTable),
    );
    return (value ?? []).map((table, index) => this.#below([key, String(index)], table));
  }

  #below(keys: readonly string[], table: Record<string, unknown>): TomlTable {
    return new TomlTable(this.#path, [...this.#keys, ...keys], table, this.#lines);
  }

  #read<T>(key: string, expected: string, is: (value: unknown) => value is T): T | undefined {
    const value = this.raw(key);
    if (value === undefined) return undefined;
    if (!is(value)) throw fault(this.at(key), `${key} must be ${expected}, not ${typeNameOf(value)}`);
    return value;
  }
}

/** The type and not the value, which may be a secret. */
function typeNameOf(value: unknown): string {
  if (Array.isArray(value)) return 'an array';
  if (isTable(value)) return 'a table';
  return value instanceof Date ? 'a date' : `a ${typeof value}`;
}
