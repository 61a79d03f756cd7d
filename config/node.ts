/** The nodes of the schema: options, sections, and tables with names that the user chooses. */

/** What a value is, for the reference. */
export interface Kind {
  readonly name:
    | 'string'
    | 'path'
    | 'URL'
    | 'choice'
    | 'whole number'
    | 'boolean'
    | 'duration'
    | 'size'
    | 'permissions'
    | 'list of strings'
    | 'list of paths';
  /** Least and greatest value, as TOML has them. */
  readonly range?: { readonly min: string; readonly max: string };
  readonly choices?: readonly string[];
}

export interface Option<T> {
  readonly node: 'option';
  readonly kind: Kind;
  readonly doc: string;
  /** Text defaults may contain `{root}` and `{state}`. */
  readonly fallback: T;
  /** The form of a value, for error messages. */
  readonly expected: string;
  /** A change takes effect at a reload (SIGHUP, `crisp reload`); where absent or false, at the next start. */
  readonly reloadable?: boolean;
  /** The value in its loaded form; undefined where it is not valid. */
  readonly parse: (value: unknown) => T | undefined;
  /** The TOML value of a flag's texts (one for each time it was given). */
  readonly fromFlag: (texts: readonly string[]) => unknown;
  toToml(value: T): string; // a method, so that an Option<T> is an Option<unknown>
}

export interface Section {
  readonly node: 'section';
  readonly doc: string;
  /** So are its options, but for those that are not. */
  readonly reloadable?: true;
  readonly shape: Shape;
}

export interface Table {
  readonly node: 'table';
  readonly doc: string;
  /** Also that an entry is added or removed. */
  readonly reloadable?: true;
  /** The type of each entry; the user chooses the keys. */
  readonly entry: Option<unknown> | Section;
  /** Default entries, which the user may override; only where entries are options. */
  readonly fallback: Readonly<Record<string, unknown>>;
}

export type Node = Option<unknown> | Section | Table;
export interface Shape {
  readonly [name: string]: Node;
}

type Camel<K> = K extends `${infer Head}_${infer Tail}` ? `${Head}${Capitalize<Camel<Tail> & string>}` : K;

/** The type of a loaded section: its names in camelCase. */
export type Infer<N> =
  N extends Option<infer T>
    ? T
    : N extends { readonly node: 'table'; readonly entry: infer E }
      ? Readonly<Record<string, Infer<E>>>
      : N extends { readonly node: 'section'; readonly shape: infer S }
        ? { readonly [K in keyof S as Camel<K>]: Infer<S[K]> }
        : never;
