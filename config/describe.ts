/** `crisp config`: the effective configuration as TOML that can be used as a file. */

import { joinPath } from '#core/toml/locate.ts';
import { build, type LoadedConfig, namesIn, type Setting } from './load.ts';
import type { Node, Option, Section, Table } from './node.ts';
import { bareKey, camel } from './option.ts';
import { overridden } from './overrides.ts';
import { schema } from './schema.ts';

interface Writer {
  readonly lines: string[];
  readonly settings: ReadonlyMap<string, Setting>;
}

function writeOption(option: Option<unknown>, keys: readonly string[], value: unknown, to: Writer): void {
  const setting = to.settings.get(joinPath(keys));
  const { origin } = setting ?? {};
  const overrides = setting ? overridden(setting) : [];
  const name = bareKey(keys.at(-1) ?? '');
  const facts = [
    option.expected,
    ...(option.reloadable ? ['reloadable'] : []),
    ...(origin ? [`set by ${origin}`] : []),
    ...(overrides.length > 0 ? [`overrides ${overrides.join(', ')}`] : []),
  ];
  to.lines.push(`# ${option.doc} (${facts.join('; ')})`);
  const text = option.toToml(value);
  const shown = withoutPassword(text);
  if (shown !== text) to.lines.push('# The password is not printed: the line as it is here cannot be used.');
  to.lines.push(`${origin && shown === text ? '' : '# '}${name} = ${shown}`);
}

/** The password of a proxy's address, which may have no scheme, and of URLs in a list. */
export const withoutPassword = (text: string): string =>
  text
    .replace(/^("(?:[a-z0-9+.-]+:\/\/)?[^@"/]*?:)[^"]*(@[^@"]*")$/i, '$1***$2')
    .replaceAll(/(:\/\/[^\s"@/:]*:)[^\s"]*(@[^@"]*")/g, '$1***$2');

function writeTable(
  table: Table,
  keys: readonly string[],
  value: Readonly<Record<string, unknown>>,
  to: Writer,
): void {
  const names = [...new Set([...Object.keys(table.fallback), ...namesIn(keys, to.settings)])];
  to.lines.push('', `# ${table.doc}`);
  const header = keys.map(bareKey).join('.');
  if (table.entry.node === 'section') {
    if (names.length === 0) writeExample(table.entry, [...keys, 'NAME'], to);
    for (const name of names) writeSection(table.entry, [...keys, name], value[name], to);
    return;
  }
  to.lines.push(
    names.some((name) => to.settings.has(joinPath([...keys, name]))) ? `[${header}]` : `# [${header}]`,
  );
  for (const name of names) writeOption(table.entry, [...keys, name], value[name], to);
}

/** The options of a table without entries, so that the user sees what an entry may contain. */
function writeExample(entry: Section, keys: readonly string[], to: Writer): void {
  const example: Writer = { lines: [], settings: new Map() };
  writeSection(entry, keys, build(entry, keys, example.settings), example);
  to.lines.push(...example.lines.map((line) => (line === '' || line.startsWith('#') ? line : `# ${line}`)));
}

function writeSection(section: Section, keys: readonly string[], value: unknown, to: Writer): void {
  const children = Object.entries(section.shape);
  const childOf = (key: string) => (value as Record<string, unknown>)[camel(key)];
  if (keys.length > 0)
    to.lines.push('', ...(section.doc ? [`# ${section.doc}`] : []), `[${keys.map(bareKey).join('.')}]`);
  for (const [key, child] of children)
    if (child.node === 'option') writeOption(child, [...keys, key], childOf(key), to);
  for (const [key, child] of children) {
    if (child.node === 'section') writeSection(child, [...keys, key], childOf(key), to);
    if (child.node === 'table')
      writeTable(child, [...keys, key], childOf(key) as Record<string, unknown>, to);
  }
}

/** Every option with its description and value; those at their default are commented out. */
export function describeConfig(loaded: LoadedConfig): string {
  const read = loaded.files.length > 0 ? loaded.files.join(', ') : 'no file';
  const lines = [
    `# The configuration of crisp, as read from ${read}.`,
    '# Lines that are commented out are defaults. What is reloadable is applied by `crisp reload`, the rest by a restart.',
    '',
  ];
  writeSection(schema as Node as Section, [], loaded.config, { lines, settings: loaded.settings });
  return `${lines.join('\n')}\n`;
}
