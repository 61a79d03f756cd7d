import type { Node, Option, Section, Shape } from './node.ts';
import { section } from './option.ts';

/** Marks an option, or all options of a section or a table: a change takes effect at a reload, without a restart. */
export const reloadable = <N extends Node>(node: N): N => marked(node) as N;

/** An exception in a reloadable section: a change takes effect at the next start. */
export const atStart = <N extends Option<unknown>>(option: N): N => ({ ...option, reloadable: false });

/** A section of which all options are reloadable, but for those with `atStart`. */
export const reloadableSection = <const S extends Shape>(doc: string, shape: S) =>
  reloadable(section(doc, shape));

function marked(node: Node): Node {
  if (node.node === 'option') return { reloadable: true, ...node };
  if (node.node === 'table')
    return { ...node, reloadable: true, entry: marked(node.entry) as typeof node.entry };
  const shape = Object.entries(node.shape).map(([key, below]) => [key, marked(below)]);
  return { ...node, reloadable: true, shape: Object.fromEntries(shape) } satisfies Section;
}
