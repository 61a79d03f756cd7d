/** The samples of accesses in containers, by the form of the layers, and their table. */
import { quantile } from './statistics.ts';

/** What a container does, with the unit. Nothing may take more than `BAR` times what it takes on directories. */
export const ACCESSES = {
  'start of 500 modules': 'ms',
  'read 500 files': 'ms',
  find: 'ms',
  'find -ls': 'ms',
  'read 200 MiB': 'ms',
  'read 4 KiB at random': 'ms',
  'map 200 MiB': 'ms',
  'map 4 KiB at random': 'ms',
  'exec of 100 MB': 'ms',
  'page cache of 200 MiB read': 'MiB',
  'PSS of 200 MiB mapped in 50 containers': 'MiB',
} as const;

export type Access = keyof typeof ACCESSES;
export const forms = ['erofs', 'directory'] as const;
export type Form = (typeof forms)[number];
/** Of the caches, before the access; `reads` are the disk's during a cold one. */
export const states = ['cold', 'reads', 'warm'] as const;
export type State = (typeof states)[number];

export const BAR = 1.1;

export interface FeelRow {
  readonly access: Access;
  readonly state: State;
  readonly unit: string;
  /** Samples of the form that has fewer. */
  readonly n: number;
  /** Medians. */
  readonly erofs: number;
  readonly directory: number;
  /** erofs / directory. */
  readonly ratio: number;
}

const rounded = (value: number): number => Number(value.toPrecision(4));

export class FeelSamples {
  readonly #values = new Map<string, number[]>();

  add(access: Access, state: State, form: Form, value: number): void {
    const key = `${form} ${state} ${access}`;
    const values = this.#values.get(key) ?? [];
    values.push(value);
    this.#values.set(key, values);
  }

  /** The accesses in their order, each in the order of the states; those that one form lacks are left out. */
  rows(): FeelRow[] {
    return (Object.keys(ACCESSES) as Access[]).flatMap((access) =>
      states.flatMap((state) => this.#row(access, state)),
    );
  }

  #row(access: Access, state: State): FeelRow[] {
    const of = (form: Form): number[] => this.#values.get(`${form} ${state} ${access}`) ?? [];
    const n = Math.min(of('erofs').length, of('directory').length);
    if (n === 0) return [];
    const [erofs, directory] = [quantile(of('erofs'), 0.5), quantile(of('directory'), 0.5)];
    const ratio = rounded(erofs === directory ? 1 : erofs / (directory || 1));
    const [image, tree] = [rounded(erofs), rounded(directory)];
    const unit = state === 'reads' ? 'reads' : ACCESSES[access];
    return [{ access, state, unit, n, erofs: image, directory: tree, ratio }];
  }
}

const HEAD = ['in a container', 'unit', 'n', 'EROFS', 'directories', 'ratio', `target ≤ ${BAR}`];

/** As a table in Markdown. */
export function feelTable(rows: readonly FeelRow[]): string {
  const body = rows.map(({ access, state, unit, n, erofs, directory, ratio }) => [
    `${access}, ${state === 'reads' ? 'cold' : state}`,
    unit,
    String(n),
    String(erofs),
    String(directory),
    ratio.toFixed(2),
    ratio <= BAR ? 'met' : 'MISSED',
  ]);
  const line = (fields: readonly string[]): string => `| ${fields.join(' | ')} |`;
  return [line(HEAD), line(HEAD.map(() => '-')), ...body.map(line)].join('\n');
}
