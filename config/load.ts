/** Loads files and flags into a checked configuration, with the origin of each value. */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf, hasCode } from '#core/errors.ts';
import { joinPath } from '#core/toml/locate.ts';
import { nearest } from './nearest.ts';
import type { Node, Option, Section } from './node.ts';
import { camel } from './option.ts';
import { type Config, schema } from './schema.ts';
import { isTable, parseTomlFile } from './toml-file.ts';

export interface ConfigSources {
  /** Read in order; a later one overrides an earlier one. A missing file is skipped. */
  readonly files?: readonly string[];
  /** Like `files`, but a missing one is an error: the user has named it. */
  readonly requiredFiles?: readonly string[];
  /** Directories whose *.toml files are read after that, by name; missing ones are skipped. */
  readonly dropIns?: readonly string[];
  /** Texts by flag name (`log-level`); they override the files. */
  readonly flags?: Readonly<Record<string, readonly string[]>>;
}

/** A value that was set, and where: `/etc/crisp/crisp.toml:12` or `--log-level`. */
export interface Setting {
  readonly value: unknown;
  readonly origin: string;
  /** What earlier files set, in their order; see `overridden`. */
  readonly earlier?: readonly Setting[];
}

export interface LoadedConfig {
  readonly config: Config;
  /** The values that were set, by path (keys joined by NUL). */
  readonly settings: ReadonlyMap<string, Setting>;
  /** The files that were read, in order. */
  readonly files: readonly string[];
}

interface Walk {
  readonly settings: Map<string, Setting>;
  readonly problems: string[];
  /** The location of a key, for messages. */
  readonly originOf: (keys: readonly string[]) => string;
}

/** A refused value, for a message: without the login of a URL. */
const show = (value: unknown): string => {
  const json = typeof value === 'bigint' ? String(value) : (JSON.stringify(value) ?? String(value));
  const text = json.replaceAll(/:\/\/[^\s,]*@/g, '://***@');
  return text.length > 60 ? `${text.slice(0, 57)}...` : text;
};

/** Checks one node of a file's tree and records what it sets. */
function walk(node: Node, raw: unknown, keys: readonly string[], to: Walk): void {
  const name = keys.join('.');
  const report = (reason: string) => to.problems.push(`${to.originOf(keys)}: ${reason}`);
  if (node.node === 'option') {
    const value = node.parse(raw);
    if (value === undefined) report(`${name} must be ${node.expected}, not ${show(raw)}`);
    else set(joinPath(keys), { value, origin: to.originOf(keys) }, to.settings);
  } else if (!isTable(raw)) {
    report(`${name} must be a table, not ${show(raw)}`);
  } else {
    if (keys.length > 0) to.settings.set(joinPath(keys), { value: undefined, origin: to.originOf(keys) });
    for (const [key, value] of Object.entries(raw)) {
      const below = [...keys, key];
      if (node.node === 'table') walk(node.entry, value, below, to);
      else if (Object.hasOwn(node.shape, key)) walk(node.shape[key] as Node, value, below, to);
      else
        to.problems.push(
          `${to.originOf(below)}: unknown option ${below.join('.')}${suggest(key, node, keys)}`,
        );
    }
  }
}

/** A value in the place of that of an earlier file, which it remembers. */
function set(path: string, setting: Setting, settings: Map<string, Setting>): void {
  const { earlier = [], ...before } = settings.get(path) ?? {};
  const known = 'origin' in before ? [...earlier, before as Setting] : earlier;
  settings.set(path, known.length > 0 ? { ...setting, earlier: known } : setting);
}

function suggest(key: string, node: Section, keys: readonly string[]): string {
  const meant = nearest(key, Object.keys(node.shape));
  if (meant) return ` (did you mean ${[...keys, meant].join('.')}?)`;
  return ` (known: ${Object.keys(node.shape).join(', ')})`;
}

async function readFileOf(file: string, required: boolean, to: Walk): Promise<boolean> {
  let text: string;
  try {
    text = await readFile(file, 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT' && !required) return false;
    to.problems.push(`${file}: cannot be read (${errnoOf(error)})`);
    return false;
  }
  try {
    const { raw, originOf } = parseTomlFile(text, file);
    walk(schema, raw, [], { ...to, originOf });
  } catch (error) {
    if (!hasCode(error, 'InvalidArgument')) throw error;
    to.problems.push(error.message);
  }
  return true;
}

async function dropInFiles(directory: string): Promise<string[]> {
  try {
    const names = await readdir(directory);
    return names
      .filter((name) => name.endsWith('.toml'))
      .sort()
      .map((name) => join(directory, name));
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return [];
    throw new CrispError(
      'InvalidArgument',
      `configuration: ${directory} cannot be listed (${errnoOf(error)})`,
      {
        hint: 'make it a directory that root can read, or remove it',
      },
    );
  }
}

/** The options that have a flag: all but those in tables, whose keys the user chooses. */
export function flaggedOptions(): ReadonlyMap<string, { keys: readonly string[]; option: Option<unknown> }> {
  const found = new Map<string, { keys: readonly string[]; option: Option<unknown> }>();
  const visit = (node: Node, keys: readonly string[]): void => {
    if (node.node === 'option') found.set(keys.join('-').replaceAll('_', '-'), { keys, option: node });
    else if (node.node === 'section')
      for (const [key, below] of Object.entries(node.shape)) visit(below, [...keys, key]);
  };
  visit(schema, []);
  return found;
}

function applyFlags(flags: Readonly<Record<string, readonly string[]>>, to: Walk): void {
  const known = flaggedOptions();
  for (const [name, texts] of Object.entries(flags)) {
    const flag = known.get(name);
    const meant = nearest(name, known.keys());
    if (!flag) to.problems.push(`unknown flag --${name}${meant ? ` (did you mean --${meant}?)` : ''}`);
    else walk(flag.option, flag.option.fromFlag(texts), flag.keys, { ...to, originOf: () => `--${name}` });
  }
}

/** The effective value of a node: what was set, else its default. */
export function build(node: Node, keys: readonly string[], settings: ReadonlyMap<string, Setting>): unknown {
  if (node.node === 'option') {
    const setting = settings.get(joinPath(keys));
    return setting ? setting.value : node.fallback;
  }
  if (node.node === 'section') {
    const entries = Object.entries(node.shape).map(([key, below]) => [
      camel(key),
      build(below, [...keys, key], settings),
    ]);
    return Object.fromEntries(entries);
  }
  const names = namesIn(keys, settings);
  const set = names.map((name): [string, unknown] => [name, build(node.entry, [...keys, name], settings)]);
  return Object.assign(Object.create(null), node.fallback, Object.fromEntries(set));
}

/** The names that the user has put into a table, in the order of their first use. */
export function namesIn(keys: readonly string[], settings: ReadonlyMap<string, Setting>): string[] {
  const prefix = `${joinPath(keys)}\0`;
  const names = [...settings.keys()]
    .filter((key) => key.startsWith(prefix))
    .map((key) => key.slice(prefix.length).split('\0')[0]);
  return [...new Set(names)].filter((name) => name !== undefined);
}

/** Expands `{root}` and `{state}` in the defaults of other paths. Values that the user has set are not changed. */
function expand(
  value: unknown,
  node: Node,
  keys: readonly string[],
  loaded: ReadonlyMap<string, Setting>,
  base: Record<string, string>,
): unknown {
  if (node.node === 'option') {
    if (typeof value !== 'string' || loaded.has(joinPath(keys))) return value;
    return value.replaceAll(/\{(root|state)\}/g, (_, name: string) => base[name] ?? '');
  }
  if (node.node === 'table' || !isTable(value)) return value;
  const below = Object.entries(node.shape).map(([key, child]) => [
    camel(key),
    expand(value[camel(key)], child, [...keys, key], loaded, base),
  ]);
  return Object.fromEntries(below);
}

/**
 * Loads and checks. Throws InvalidArgument whose message lists every problem on its own line, as `file:line: …`.
 */
export async function loadConfig(sources: ConfigSources): Promise<LoadedConfig> {
  const to: Walk = { settings: new Map(), problems: [], originOf: () => '' };
  const files: string[] = [];
  const dropIns = (await Promise.all((sources.dropIns ?? []).map(dropInFiles))).flat();
  const required = sources.requiredFiles ?? [];
  for (const file of [...(sources.files ?? []), ...required, ...dropIns]) {
    if (await readFileOf(file, required.includes(file), to)) files.push(file);
  }
  applyFlags(sources.flags ?? {}, to);
  if (to.problems.length > 0) {
    throw new CrispError('InvalidArgument', to.problems.join('\n'), {
      hint: 'correct these lines; `crisp config` shows every option with its default',
    });
  }
  return { config: configOf(to.settings), settings: to.settings, files };
}

/** The effective values: what is set, else the defaults. */
export function configOf(settings: LoadedConfig['settings']): Config {
  const plain = build(schema, [], settings) as Record<string, string>;
  return expand(plain, schema, [], settings, plain) as Config;
}
