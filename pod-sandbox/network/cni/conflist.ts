/** CNI configurations: one file, parsed and checked. Which file counts, and when it is read, is in `conf-directory.ts`. */
import { CrispError } from '#core/errors.ts';
import { type CniVersion, cniVersions, excerpt } from './result.ts';

/** One plugin's configuration as in the file; `type` is a checked program name. */
export interface PluginConfig {
  readonly type: string;
  readonly capabilities?: Readonly<Record<string, unknown>>;
  readonly [key: string]: unknown;
}

/** A list of plugins that together make one network. Plain JSON: it is kept in the record of each attachment. */
export interface NetworkConfig {
  readonly name: string;
  readonly cniVersion: CniVersion;
  readonly plugins: readonly PluginConfig[];
  /** Path of the file, for messages. */
  readonly source: string;
  /** CHECK is not called; absent: it may be. */
  readonly disableCheck?: true;
  /** GC is not called; absent: it may be. */
  readonly disableGC?: true;
}

/** The specification's form of a network name. */
const NAME = /^[A-Za-z0-9][A-Za-z0-9_.-]*$/;
/** A program's name, not a path, so that nothing outside the plugin directories is executed. */
const TYPE = /^[A-Za-z0-9][A-Za-z0-9_.+-]{0,127}$/;

/** Whether the version has a command: CHECK is of 0.4.0, STATUS and GC are of 1.1.0. */
export const isAtLeast = ({ cniVersion }: NetworkConfig, version: CniVersion): boolean =>
  cniVersions.indexOf(cniVersion) >= cniVersions.indexOf(version);

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Parses a `.conflist`, or a `.conf` or `.json` of one plugin. Throws NetworkFailed that names file and field. */
export function parseNetworkConfig(source: string, text: string): NetworkConfig {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch (error) {
    throw invalid(source, `is not JSON: ${error instanceof Error ? excerpt(error.message) : ''}`);
  }
  if (!isObject(value)) throw invalid(source, 'is not a JSON object');
  const { name, plugins = [value] } = value;
  if (typeof name !== 'string' || !NAME.test(name)) {
    throw invalid(
      source,
      `has name ${shown(name)}`,
      'a name begins with a letter or digit and has only A-Z a-z 0-9 _ . -',
    );
  }
  if (!Array.isArray(plugins) || plugins.length === 0) throw invalid(source, 'lists no plugins');
  return {
    name,
    cniVersion: versionOf(source, value),
    plugins: plugins.map((plugin, index) => checkPlugin(source, plugin, index)),
    source,
    ...(flagOf(source, value, 'disableCheck') ? { disableCheck: true } : {}),
    ...(flagOf(source, value, 'disableGC') ? { disableGC: true } : {}),
  };
}

/** Other runtimes take it as a text, too. */
function flagOf(source: string, value: Readonly<Record<string, unknown>>, key: string): boolean {
  const { [key]: flag = false } = value;
  const text = String(flag).toLowerCase();
  if (['boolean', 'string'].includes(typeof flag) && ['true', 'false'].includes(text)) return text === 'true';
  throw invalid(source, `has ${key} ${shown(flag)}`, 'write true or false');
}

/** The version of a file without one, or with an empty one, as the plugins take it. */
const NO_VERSION: CniVersion = '0.1.0';

/** From CNI 1.1 on `cniVersions` lists alternatives; the highest that crisp supports is chosen. */
function versionOf(source: string, value: Readonly<Record<string, unknown>>): CniVersion {
  const { cniVersion, cniVersions: listed } = value;
  const alternatives: readonly unknown[] = Array.isArray(listed) ? listed : [];
  const offered = [cniVersion, ...alternatives];
  const version = cniVersions.findLast((known) => offered.includes(known));
  if (version !== undefined) return version;
  if ((cniVersion === undefined || cniVersion === '') && alternatives.length === 0) return NO_VERSION;
  throw invalid(source, `has cniVersion ${shown(cniVersion)}`, `write one of ${cniVersions.join(', ')}`);
}

function checkPlugin(source: string, plugin: unknown, index: number): PluginConfig {
  if (!isObject(plugin)) throw invalid(source, `has plugins[${index}] that is not an object`);
  const { type, capabilities } = plugin;
  if (typeof type !== 'string' || !TYPE.test(type)) {
    throw invalid(
      source,
      `has plugins[${index}].type ${shown(type)}`,
      'type is the file name of a plugin, without a path',
    );
  }
  if (capabilities !== undefined && !isObject(capabilities)) {
    throw invalid(source, `has plugins[${index}].capabilities that is not an object`);
  }
  return { ...plugin, type };
}

const shown = (value: unknown): string => excerpt(JSON.stringify(value) ?? 'undefined');

const invalid = (source: string, message: string, hint = 'correct the file'): CrispError =>
  new CrispError('NetworkFailed', `CNI configuration ${source} ${message}`, { hint });
