/** What of a configuration that is read again takes effect in the running daemon, and what needs a restart. */
import { configOf, type LoadedConfig, type Setting } from './load.ts';
import type { Node } from './node.ts';
import { schema } from './schema.ts';
import { fallbackAt } from './settings-text.ts';

/** An option whose value differs. */
export interface ConfigChange {
  /** `image.layers`. */
  readonly key: string;
  /** Where its new value is set, as `file:line` or flag; absent where it is not set any more. */
  readonly origin?: string;
}

export interface ConfigChanges {
  /** The new configuration, with the running values of the options that need a restart. */
  readonly effective: LoadedConfig;
  /** The options of which a reload applies the change. */
  readonly applied: readonly ConfigChange[];
  /** The options whose change needs a restart. */
  readonly restartNeeded: readonly ConfigChange[];
}

/** `running` is the configuration in effect: the one of the start, or `effective` of the last change. */
export function changesOf(running: LoadedConfig, next: LoadedConfig): ConfigChanges {
  const settings = new Map(next.settings);
  const applied: ConfigChange[] = [];
  const restartNeeded: ConfigChange[] = [];
  for (const path of new Set([...running.settings.keys(), ...next.settings.keys()])) {
    const [before, after] = [running.settings.get(path), next.settings.get(path)];
    const keys = path.split('\0');
    const found = nodeAt(keys);
    if (!found || isSame(found, keys, before, after)) continue;
    const change = { key: keys.join('.'), ...(after ? { origin: after.origin } : {}) };
    if (found.node.reloadable) applied.push(change);
    else {
      restartNeeded.push(change);
      if (before) settings.set(path, before);
      else settings.delete(path);
    }
  }
  const effective = { config: configOf(settings), settings, files: next.files };
  return { effective, applied, restartNeeded };
}

interface Found {
  readonly node: Node;
  /** Whether it is an entry of a table, whose presence counts. */
  readonly isEntry: boolean;
}

function nodeAt(keys: readonly string[]): Found | undefined {
  let found: Found = { node: schema, isEntry: false };
  for (const key of keys) {
    const { node }: Found = found;
    const below: Node | undefined =
      node.node === 'option' ? undefined : node.node === 'table' ? node.entry : node.shape[key];
    if (!below) return undefined;
    found = { node: below, isEntry: node.node === 'table' };
  }
  return found;
}

/** A value that is set to the default is the same as one that is not set. */
function isSame(
  { node, isEntry }: Found,
  keys: readonly string[],
  before: Setting | undefined,
  after: Setting | undefined,
): boolean {
  if (node.node !== 'option') return !isEntry || Boolean(before) === Boolean(after);
  const valueAt = (setting: Setting | undefined) =>
    JSON.stringify(setting ? setting.value : fallbackAt(keys));
  return valueAt(before) === valueAt(after);
}
