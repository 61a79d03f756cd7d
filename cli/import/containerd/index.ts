/** containerd: config.toml of versions 2 to 4 with its imports, and the hosts.toml that it names. */
import { existsSync, globSync, readdirSync, statSync } from 'node:fs';
import { basename, dirname, join, resolve } from 'node:path';
import { parseTomlFile } from '#config/index.ts';
import { invalid, type Leaf, leavesOf, readConfigurationFile } from '../leaf.ts';
import type { PeerOption } from '../option.ts';
import type { Peer, Reading } from '../peer.ts';
import { containerdAnnotations } from './annotations.ts';
import { serverOptions, topOptions } from './daemon.ts';
import { existingHandlers, handlerOptions } from './handlers.ts';
import { HOSTS, hostsOptions } from './hosts.ts';
import { imageOptions } from './images.ts';
import { currentKeys, IMAGES } from './names.ts';
import { pluginOptions } from './plugins.ts';
import { criServerOptions, runtimeOptions } from './runtime.ts';

const options: readonly PeerOption[] = [
  ...topOptions,
  ...serverOptions,
  ...criServerOptions,
  ...imageOptions,
  ...runtimeOptions,
  ...handlerOptions,
  ...pluginOptions,
  ...hostsOptions,
];

/** Each entry of these tables is replaced as a whole by a later file. */
const WHOLE = new Set(['proxy_plugins', 'stream_processors']);
const LAST_VERSION = 4;

const isDirectory = (path: string): boolean =>
  statSync(path, { throwIfNoEntry: false })?.isDirectory() === true;

function checkVersion(
  raw: Readonly<Record<string, unknown>>,
  originOf: (keys: readonly string[]) => string,
): void {
  const { version, plugins } = raw;
  const short = Object.keys(plugins ?? {}).find((id) => !id.includes('.'));
  const hint = 'translate it by `containerd config migrate` first';
  if (version === 1 || short !== undefined) {
    const what = short === undefined ? ['version'] : ['plugins', short];
    throw invalid([`${originOf(what)}: version 1 of the format, which containerd 2 does not read`], hint);
  }
  if (version !== undefined && (typeof version !== 'number' || version < 1 || version > LAST_VERSION))
    throw invalid([`${originOf(['version'])}: version must be 2, 3 or 4`], hint);
}

/** Paths of `imports`, relative to the file; a `*` stands for files that exist, by name. */
function importsOf(raw: Readonly<Record<string, unknown>>, file: string, origin: string): string[] {
  const imports = raw['imports'] ?? [];
  if (!Array.isArray(imports) || imports.some((path) => typeof path !== 'string'))
    throw invalid([`${origin}: imports must be a list of paths`]);
  return imports.flatMap((path: string) => {
    const absolute = resolve(dirname(file), path);
    return absolute.includes('*') ? globSync(absolute).sort() : [absolute];
  });
}

class Reader {
  readonly files: string[] = [];
  readonly leaves: Leaf[] = [];
  readonly warnings: string[] = [];

  /** A file, then what it imports, each once, as containerd does. Throws InvalidArgument. */
  async config(first: string): Promise<void> {
    const pending = [first];
    for (const path of pending) {
      if (this.files.includes(path)) continue;
      const { raw, originOf } = parseTomlFile(await readConfigurationFile(path), path);
      checkVersion(raw, originOf);
      const leaves = leavesOf(raw, this.files.length, originOf);
      this.#warn(leaves);
      this.files.push(path);
      this.leaves.push(...leaves.map((leaf) => ({ ...leaf, keys: currentKeys(leaf.keys) })));
      pending.push(...importsOf(raw, path, originOf(['imports'])));
    }
  }

  /** containerd 1 takes the table of a plugin from one file, containerd 2 merges their keys. */
  #warn(leaves: readonly Leaf[]): void {
    const plugins = new Set(leaves.flatMap(({ written }) => (written[0] === 'plugins' ? [written[1]] : [])));
    for (const { written, origin } of this.leaves) {
      if (written[0] !== 'plugins' || !plugins.delete(written[1])) continue;
      const both = `${origin} and ${leaves.find((leaf) => leaf.written[1] === written[1])?.origin}`;
      this.warnings.push(
        `${both} both have plugins.${JSON.stringify(written[1])}: merged as containerd 2 does; containerd 1 takes the later table alone`,
      );
    }
  }

  async hosts(path: string): Promise<void> {
    if (this.files.includes(path)) return;
    const { raw, originOf } = parseTomlFile(await readConfigurationFile(path), path);
    const leaves = leavesOf(raw, this.files.length, originOf);
    this.files.push(path);
    this.leaves.push(...leaves.map((leaf) => ({ ...leaf, keys: [HOSTS, ...leaf.keys] })));
  }

  /** Each HOST/hosts.toml of a directory such as /etc/containerd/certs.d. */
  async hostDirectories(directory: string): Promise<void> {
    for (const host of readdirSync(directory).sort()) {
      const path = join(directory, host, HOSTS);
      if (existsSync(path)) await this.hosts(path);
    }
  }

  /** The directories that the configuration names. */
  async namedDirectories(): Promise<void> {
    const isPath = ({ keys }: Leaf) => keys.slice(1).join('.') === `${IMAGES}.registry.config_path`;
    const named = this.leaves.findLast(isPath)?.value;
    for (const directory of typeof named === 'string' ? named.split(':') : [])
      if (isDirectory(directory)) await this.hostDirectories(resolve(directory));
  }
}

async function read(given: readonly string[]): Promise<Reading> {
  const reader = new Reader();
  const paths = given.map((path) => resolve(path));
  const isHosts = (path: string) => isDirectory(path) || basename(path) === HOSTS;
  for (const path of paths.filter((one) => !isHosts(one))) await reader.config(path);
  for (const path of paths.filter(isHosts))
    await (isDirectory(path) ? reader.hostDirectories(path) : reader.hosts(path));
  await reader.namedDirectories();
  return reader;
}

const isEmpty = (value: unknown): boolean => value === '' || value === 0 || value === false;

export const containerd: Peer = {
  name: 'containerd',
  version: '2.4',
  options,
  annotations: containerdAnnotations,
  unit: (keys) => {
    const list = keys.findIndex((key) => /^\d+$/.test(key));
    if (WHOLE.has(keys[0] ?? '')) return keys.slice(0, 2);
    // A list of tables is replaced as a whole.
    return keys[0] === 'plugins' && list > 1 ? keys.slice(0, list) : keys;
  },
  merge: ({ written, keys, value }) => {
    if (keys[0] === HOSTS) return 'adds';
    if (written[0] === 'plugins' || WHOLE.has(written[0] ?? '')) return 'replaces';
    if (Array.isArray(value) || keys[0] === 'version') return 'adds';
    return isEmpty(value) ? 'empty' : 'replaces';
  },
  defaultFiles: ['/etc/containerd/config.toml'],
  read,
  finish: existingHandlers,
  reminders: [
    'Where no file sets SystemdCgroup, containerd uses cgroupfs; crisp uses systemd where that is PID 1 (cgroup.driver).',
    'crisp reads hosts.toml and certificates in certs.d itself. Images are pulled again.',
  ],
};
