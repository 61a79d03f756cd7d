/**
 * Declarations of the peers' options. An entry decides what `crisp config import` does with a key, and is a row of
 * docs/peer-options.md; both come from the tables in crio/ and containerd/.
 */

/** What becomes of one value. */
export type Result =
  /** Options of crisp that get a value (as TOML has it). */
  | { readonly set: readonly Assigned[]; readonly note?: string }
  /** crisp does the same without a setting, for this reason. */
  | { readonly same: string }
  /** There is nothing to set; why, and what to do. */
  | { readonly cannot: string };

export type Assigned = readonly [keys: readonly string[], value: unknown];

export interface Surroundings {
  /** What the `*` of the key stand for. */
  readonly names: readonly string[];
  /** The value of another key that counts, else its default; a `*` is filled in as in the option's own key. */
  get(...keys: readonly string[]): unknown;
  /** The keys and values that are set directly below a table, and count. */
  below(...keys: readonly string[]): readonly (readonly [key: string, value: unknown])[];
}

export type Convert = (value: unknown, around: Surroundings) => Result;

export interface PeerOption {
  /** `*` stands for a name that the user chooses, or the index in a list; a last `**` for everything below. */
  readonly keys: readonly string[];
  /** The peer's default; undefined where it has none. The type of a value is checked by it. */
  readonly fallback?: unknown;
  readonly kind: 'maps' | 'manual' | 'moot' | 'lacks';
  /** The option of crisp, in dotted form; a `*` is the name at that place. */
  readonly to?: string;
  /** Of `maps`: what is to be known about it. Of `manual`: how to choose. Else why, and what to do. */
  readonly note: string;
  readonly convert?: Convert;
  /** What crisp does by default, where that is not what the peer does by default. */
  readonly differs?: string;
  /** The value is not shown. */
  readonly secret?: boolean;
}

type Rest = Pick<PeerOption, 'convert' | 'differs' | 'secret'> & { readonly note?: string };

/** Has an option of crisp. */
export const maps = (key: string, fallback: unknown, to: string, rest: Rest = {}): PeerOption => ({
  keys: key.split('.'),
  fallback,
  kind: 'maps',
  to,
  note: '',
  ...rest,
});

/** Has an option of crisp whose value the operator must choose. */
export const manual = (key: string, fallback: unknown, to: string, note: string): PeerOption => ({
  keys: key.split('.'),
  fallback,
  kind: 'manual',
  to,
  note,
});

/** Any value means nothing to crisp, which does the same or does not need it. */
export const moot = (key: string, fallback: unknown, note: string, rest: Rest = {}): PeerOption => ({
  keys: key.split('.'),
  fallback,
  kind: 'moot',
  ...rest,
  note,
});

/** At the default crisp does the same, unless `differs`; other values it does not know. */
export const lacks = (key: string, fallback: unknown, note: string, rest: Rest = {}): PeerOption => ({
  keys: key.split('.'),
  fallback,
  kind: 'lacks',
  ...rest,
  note,
});

/** The same options below a table. */
export const under = (table: readonly string[], options: readonly PeerOption[]): PeerOption[] =>
  options.map((option) => ({ ...option, keys: [...table, ...option.keys] }));

/** The names for which the `*` of a pattern stand; undefined where the keys are others. */
export function matchKeys(pattern: readonly string[], keys: readonly string[]): string[] | undefined {
  const names: string[] = [];
  for (const [index, part] of pattern.entries()) {
    const key = keys[index];
    if (part === '**') return index < keys.length ? [...names, ...keys.slice(index)] : undefined;
    if (key === undefined) return undefined;
    if (part === '*') names.push(key);
    else if (part !== key) return undefined;
  }
  return pattern.length === keys.length ? names : undefined;
}

/** A dotted pattern with its names filled in. */
export function fill(pattern: readonly string[], names: readonly string[]): string[] {
  const rest = [...names];
  return pattern.map((part) => (part === '*' ? (rest.shift() ?? '*') : part));
}
