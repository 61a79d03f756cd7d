/** Reads what a plugin has sent: each value is checked and counted before it is used, and refused with plugin, field and remedy. */
import { posix } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { shown } from '../fields.ts';

/** Bytes of a path, without the byte that ends it (PATH_MAX of limits.h). */
const MAX_PATH = 4095;
/** Bytes of an argument or variable of a program, without the byte that ends it (MAX_ARG_STRLEN of binfmts.h). */
export const MAX_STRING = 32 * 4096 - 1;
/** Entries of one field. */
const MAX_ENTRIES = 4096;
/** Bytes of all texts in one answer: they become part of the container's record. */
const MAX_TEXT = 1024 * 1024;

const MAX_INT64 = 2n ** 63n - 1n;

export class Reader {
  readonly plugin: string;
  /** For errors: whose fields these are, where it is not the container that is being created. */
  readonly #of: string;
  readonly #counted: { bytes: number };

  constructor(plugin: string, of = '', counted = { bytes: 0 }) {
    this.plugin = plugin;
    this.#of = of;
    this.#counted = counted;
  }

  /** For the fields of another container in the same answer. */
  of(container: string): Reader {
    return new Reader(this.plugin, ` of container ${container}`, this.#counted);
  }

  /** Bytes of all texts so far. */
  get bytes(): number {
    return this.#counted.bytes;
  }

  /** Throws InvalidArgument. */
  refuse(field: string, problem: string, remedy: string): never {
    const what = `${shown(field)}${this.#of}`;
    throw new CrispError('InvalidArgument', `NRI plugin ${this.plugin}: ${what}: ${problem}`, {
      hint: `correct the plugin: ${remedy}`,
    });
  }

  /** The list, if it has no more entries than `most`. */
  list<T>(field: string, items: readonly T[], most = MAX_ENTRIES): readonly T[] {
    if (items.length > most)
      this.refuse(field, `${items.length} entries, more than ${most}`, `send at most ${most}`);
    return items;
  }

  /** Keys and values of a map. */
  entries<T>(field: string, map: Readonly<Record<string, T>>): readonly (readonly [string, T])[] {
    return this.list(field, Object.entries(map));
  }

  /** A text of at most `most` bytes without NUL; it may be empty. */
  text(field: string, value: string, most = MAX_STRING): string {
    const bytes = Buffer.byteLength(value);
    if (bytes > most) this.refuse(field, `${bytes} bytes, more than ${most}`, `send at most ${most} bytes`);
    if (value.includes('\0')) this.refuse(field, 'it contains a NUL', 'remove it');
    this.#counted.bytes += bytes;
    if (this.#counted.bytes > MAX_TEXT)
      this.refuse(field, `the answer has more than ${MAX_TEXT} bytes of text`, 'send less in one answer');
    return value;
  }

  /** A text of a form. */
  matching(field: string, value: string, form: RegExp, remedy: string, most = 256): string {
    this.text(field, value, most);
    return form.test(value) ? value : this.refuse(field, `${quoted(value)} is not possible`, remedy);
  }

  /** One of a list of names. */
  oneOf(field: string, value: string, names: readonly string[]): string {
    this.text(field, value);
    if (names.includes(value)) return value;
    return this.refuse(field, `${quoted(value)} is not known`, `use one of ${names.join(', ')}`);
  }

  /** The name of a number of an enum. */
  enumName(field: string, value: number, table: Readonly<Record<string, number>>): string {
    const name = Object.keys(table).find((one) => table[one] === value);
    return (
      name ?? this.refuse(field, `${value} is not known`, `use a number below ${Object.keys(table).length}`)
    );
  }

  /** An absolute path without `..`, in its shortest form. `root`: whether it may be `/`. */
  path(field: string, value: string, { root = false } = {}): string {
    this.text(field, value, MAX_PATH);
    if (!value.startsWith('/'))
      this.refuse(field, `${quoted(value)} is not absolute`, 'send an absolute path');
    if (value.split('/').includes('..'))
      this.refuse(field, `${quoted(value)} contains ..`, 'send a path without ..');
    const path = posix.normalize(value).replace(/(?<=.)\/$/, '');
    if (path === '/' && !root) this.refuse(field, '/ is not possible', 'send a path below /');
    return path;
  }

  /** An integer within bounds, each of them possible. */
  integer(field: string, value: bigint, least: bigint, most: bigint = MAX_INT64): bigint {
    if (value < least || value > most)
      this.refuse(
        field,
        `${value} is not between ${least} and ${most}`,
        'send a number between these bounds',
      );
    return value;
  }

  /** The same for a number that is exact. */
  number(field: string, value: bigint | number, least: number, most: number): number {
    return Number(this.integer(field, BigInt(value), BigInt(least), BigInt(most)));
  }
}

/** As in JSON, and not more than a line of it. */
export const quoted = (value: string): string =>
  JSON.stringify(value.length > 128 ? `${value.slice(0, 128)}…` : value);

/** A name without the marker of removal, and whether it had one. */
export const unmarked = (name: string): { readonly name: string; readonly marked: boolean } =>
  name.startsWith('-') ? { name: name.slice(1), marked: true } : { name, marked: false };
