/** Single settings as TOML, in the order of the schema; `crisp config import` prints its result by this. */
import type { Node, Option } from './node.ts';
import { bareKey } from './option.ts';
import { schema } from './schema.ts';

export interface Assignment {
  /** The keys of an option of the schema; of tables the names that the user chooses. */
  readonly keys: readonly string[];
  /** The loaded form of its value: milliseconds, bytes. */
  readonly value: unknown;
  /** Lines of comment above it. */
  readonly comments: readonly string[];
}

/** The option of these keys, or undefined; where a table's names are chosen by the user, any name will do. */
export function optionAt(keys: readonly string[]): Option<unknown> | undefined {
  let node: Node = schema;
  for (const key of keys) {
    if (node.node === 'option') return undefined;
    const below: Node | undefined =
      node.node === 'table' ? node.entry : Object.hasOwn(node.shape, key) ? node.shape[key] : undefined;
    if (below === undefined) return undefined;
    node = below;
  }
  return node.node === 'option' ? node : undefined;
}

/** What an option is where it is not set; `{root}` and `{state}` are not expanded. */
export function fallbackAt(keys: readonly string[]): unknown {
  let node: Node = schema;
  for (const key of keys.slice(0, -1)) {
    if (node.node === 'option') return undefined;
    node = node.node === 'table' ? node.entry : (node.shape[key] ?? schema);
  }
  if (node.node === 'table') return node.fallback[keys.at(-1) ?? ''];
  return optionAt(keys)?.fallback;
}

/** The place of an option in a document: the options of a table come before the tables in it. */
function placeOf(keys: readonly string[]): number[] {
  const place: number[] = [];
  let node: Node = schema;
  for (const key of keys) {
    if (node.node === 'option') break;
    if (node.node === 'table') {
      place.push(0);
      node = node.entry;
    } else {
      const below: Node | undefined = node.shape[key];
      if (below === undefined) break;
      const index = Object.keys(node.shape).indexOf(key);
      place.push(below.node === 'option' ? index : index + Object.keys(node.shape).length);
      node = below;
    }
  }
  return place;
}

function byPlace(a: Assignment, b: Assignment): number {
  const [left, right] = [placeOf(a.keys), placeOf(b.keys)];
  const at = left.findIndex((part, index) => part !== right[index]);
  return at < 0 ? 0 : (left[at] ?? 0) - (right[at] ?? 0);
}

/** A TOML document; the keys are those of options, each at most once. */
export function settingsText(assignments: readonly Assignment[]): string {
  const tables = new Map<string, Assignment[]>();
  // Stable: names in tables keep the order in which they come.
  for (const one of [...assignments].sort(byPlace)) {
    const table = one.keys.slice(0, -1).map(bareKey).join('.');
    tables.set(table, [...(tables.get(table) ?? []), one]);
  }
  const blocks = [...tables].map(([table, entries]) => [
    ...(table === '' ? [] : [`[${table}]`]),
    ...entries.flatMap(({ keys, value, comments }) => [
      ...comments.map((comment) => `# ${comment}`),
      `${bareKey(keys.at(-1) ?? '')} = ${optionAt(keys)?.toToml(value)}`,
    ]),
  ]);
  return blocks.map((lines) => `${lines.join('\n')}\n`).join('\n');
}
