import { CrispError } from '#core/errors.ts';

/** An object in a third party's file, read field by field. Each error names the file and the field. */
export class Fields {
  readonly #where: string;
  readonly #fields: Readonly<Record<string, unknown>>;

  /** `where` names the file, and the place in it. Throws where the value is not an object. */
  constructor(where: string, value: unknown) {
    this.#where = where;
    if (typeof value !== 'object' || value === null || Array.isArray(value)) {
      throw new CrispError('FailedPrecondition', `${where} is not an object`, { hint: HINT });
    }
    this.#fields = value as Record<string, unknown>;
  }

  wrong(field: string, what: string): CrispError {
    return new CrispError('FailedPrecondition', `${this.#where}: ${field} ${what}`, { hint: HINT });
  }

  has(field: string): boolean {
    return Object.hasOwn(this.#fields, field) && this.#fields[field] !== null;
  }

  get(field: string): unknown {
    return this.has(field) ? this.#fields[field] : undefined;
  }

  /** Refuses any other field: what is not understood must not be ignored. */
  only(known: readonly string[]): void {
    const other = Object.keys(this.#fields).find((field) => !known.includes(field));
    if (other !== undefined) throw this.wrong(other, 'is unknown');
  }

  /** A string; `otherwise` where it is absent. */
  matching(field: string, pattern: RegExp, otherwise?: string): string {
    const value = this.get(field) ?? otherwise;
    if (typeof value === 'string' && pattern.test(value)) return value;
    throw this.wrong(field, value === undefined ? 'is missing' : `is ${shown(value)}`);
  }

  /** An absolute path without `..`. */
  path(field: string): string {
    const value = this.matching(field, /^\/[^\0]*$/);
    if (value.length > 4000 || value.split('/').includes('..')) throw this.wrong(field, `is ${shown(value)}`);
    return value;
  }

  number(field: string, min: number, max: number): number | undefined {
    const value = this.get(field);
    if (value === undefined) return undefined;
    if (typeof value === 'number' && Number.isInteger(value) && value >= min && value <= max) return value;
    throw this.wrong(field, `is ${shown(value)}, not a whole number from ${min} to ${max}`);
  }

  flag(field: string): boolean | undefined {
    const value = this.get(field);
    if (value === undefined || typeof value === 'boolean') return value;
    throw this.wrong(field, `is ${shown(value)}, not true or false`);
  }

  list(field: string): readonly unknown[] {
    const value = this.get(field);
    if (value === undefined) return [];
    if (Array.isArray(value)) return value;
    throw this.wrong(field, `is ${shown(value)}, not a list`);
  }

  texts(field: string): string[] {
    return this.list(field).map((item) => {
      if (typeof item === 'string' && !item.includes('\0')) return item;
      throw this.wrong(field, `has ${shown(item)}, which is not a string`);
    });
  }

  numbers(field: string, min: number, max: number): number[] {
    return this.list(field).map((item) => {
      if (typeof item === 'number' && Number.isInteger(item) && item >= min && item <= max) return item;
      throw this.wrong(field, `has ${shown(item)}, not a whole number from ${min} to ${max}`);
    });
  }

  /** A nested object; an absent one is empty. */
  object(field: string): Fields {
    return new Fields(`${this.#where}: ${field}`, this.get(field) ?? {});
  }

  objects(field: string): Fields[] {
    return this.list(field).map((item, index) => new Fields(`${this.#where}: ${field}[${index}]`, item));
  }

  entries(field: string): [string, unknown][] {
    const value = this.get(field) ?? {};
    if (typeof value === 'object' && value !== null && !Array.isArray(value)) return Object.entries(value);
    throw this.wrong(field, `is ${shown(value)}, not an object`);
  }
}

const HINT = 'fix the file, or remove it';
const shown = (value: unknown): string => (JSON.stringify(value) ?? String(value)).slice(0, 100);
