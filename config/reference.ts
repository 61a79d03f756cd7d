/** Every option of the schema with what is known of it, for documents, completions and `crisp config --output json`. */
import { build, flaggedOptions } from './load.ts';
import type { Kind, Node, Option } from './node.ts';
import { bareKey } from './option.ts';
import { schema } from './schema.ts';

export interface OptionFacts {
  /** `NAME` stands for a key that the user chooses. */
  readonly keys: readonly string[];
  readonly kind: Kind;
  /** The form of a value in words, as errors have it. */
  readonly expected: string;
  /** As TOML. `{root}` and `{state}` stand for the values of these two options. */
  readonly fallback: string;
  /** Entries that a table with names of the user has by default, as TOML. */
  readonly entries: readonly (readonly [name: string, value: string])[];
  readonly doc: string;
  /** Whether a reload applies a change of it. */
  readonly reloadable: boolean;
  /** Without dashes; options in tables with names of the user have none. */
  readonly flag: string | undefined;
}

/** A table of the TOML file with the options directly in it. */
export interface SectionFacts {
  readonly keys: readonly string[];
  readonly doc: string;
  readonly options: readonly OptionFacts[];
}

const NAME = 'NAME';

/** `runtime.handlers.NAME.path`. */
export const dotted = (keys: readonly string[]): string => keys.map(bareKey).join('.');

/** Options in the order of the schema, each section before those in it. */
export function configReference(): readonly SectionFacts[] {
  const flags = new Map([...flaggedOptions()].map(([flag, { keys }]) => [dotted(keys), flag]));
  const found: SectionFacts[] = [];
  const facts = (option: Option<unknown>, keys: readonly string[]): OptionFacts => ({
    keys,
    kind: option.kind,
    expected: option.expected,
    fallback: option.toToml(build(option, keys, new Map())),
    entries: [],
    doc: option.doc,
    reloadable: option.reloadable ?? false,
    flag: flags.get(dotted(keys)),
  });
  const visit = (node: Node, keys: readonly string[], doc: string): void => {
    if (node.node === 'option') return;
    if (node.node === 'table') {
      const below = [...keys, NAME];
      const { entry, fallback } = node;
      if (entry.node === 'section') {
        visit(entry, below, [node.doc, entry.doc].join(' '));
        return;
      }
      const entries = Object.entries(fallback).map(([name, value]) => [name, entry.toToml(value)] as const);
      found.push({ keys, doc: node.doc, options: [{ ...facts(entry, below), entries }] });
      return;
    }
    const children = Object.entries(node.shape);
    const options = children.flatMap(([key, child]) =>
      child.node === 'option' ? [facts(child, [...keys, key])] : [],
    );
    found.push({ keys, doc, options });
    for (const [key, child] of children) visit(child, [...keys, key], child.doc);
  };
  visit(schema, [], schema.doc);
  return found.filter(({ options }) => options.length > 0);
}
