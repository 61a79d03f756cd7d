/** `crisp config --output json`: each option with its value in force and where it was set. */
import { joinPath } from '#core/toml/locate.ts';
import { withoutPassword } from './describe.ts';
import { type LoadedConfig, namesIn, type Setting } from './load.ts';
import type { Node, Option } from './node.ts';
import { camel } from './option.ts';
import { overridden } from './overrides.ts';
import { dotted } from './reference.ts';
import { schema } from './schema.ts';

/** An option; the keys of this object are stable. */
export interface ShownOption {
  readonly key: string;
  /** As TOML has it: durations and sizes are texts. Passwords are replaced by `***`. */
  readonly value: unknown;
  readonly default: unknown;
  /** `file:line` or the flag; null where it is not set. */
  readonly origin: string | null;
  /** Where else it is set, to another value that does not count; in the order of the files. */
  readonly overrides: readonly string[];
  readonly type: string;
  readonly doc: string;
  /** Whether `crisp reload` applies a change of it. */
  readonly reloadable: boolean;
}

/** The files that were read, and all options. */
export interface ConfigDocument {
  readonly files: readonly string[];
  readonly options: readonly ShownOption[];
}

/** A value of TOML as JSON: what options write as TOML is valid JSON as well. */
const jsonOf = (option: Option<unknown>, value: unknown): unknown =>
  JSON.parse(withoutPassword(option.toToml(value)));

function* shown(
  node: Node,
  keys: readonly string[],
  value: unknown,
  settings: ReadonlyMap<string, Setting>,
  fallback: unknown,
): Generator<ShownOption> {
  const below = value as Readonly<Record<string, unknown>>;
  if (node.node === 'option') {
    const setting = settings.get(joinPath(keys));
    const origin = setting?.origin ?? null;
    const overrides = setting ? overridden(setting) : [];
    const byDefault = fallback === undefined ? null : jsonOf(node, fallback);
    const { kind, doc, reloadable = false } = node;
    const facts = { default: byDefault, origin, overrides, type: kind.name, doc, reloadable };
    yield { key: dotted(keys), value: jsonOf(node, value), ...facts };
  } else if (node.node === 'section') {
    for (const [key, child] of Object.entries(node.shape))
      yield* shown(
        child,
        [...keys, key],
        below[camel(key)],
        settings,
        child.node === 'option' ? child.fallback : undefined,
      );
  } else {
    const names = [...new Set([...Object.keys(node.fallback), ...namesIn(keys, settings)])];
    for (const name of names)
      yield* shown(node.entry, [...keys, name], below[name], settings, node.fallback[name]);
  }
}

export const configDocument = ({ config, settings, files }: LoadedConfig): ConfigDocument => ({
  files,
  options: [...shown(schema, [], config, settings, undefined)],
});
