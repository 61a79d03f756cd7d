/** The pod network of both sides: the same list of plugins, with the names and addresses of each side. */
import { mkdirSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { parse } from 'smol-toml';
import { CrispError } from '#core/errors.ts';
import type { SideName } from './statistics.ts';

const FILE = '10-bench.conflist';
/** The name of the network. */
export const NETWORK = 'bench';
export const PLUGINS = '/usr/lib/cni';
const OCTETS: Readonly<Record<SideName, number>> = { crisp: 41, containerd: 42, crio: 43 };

/** The sides differ in the bridge, its subnet and the directory of addresses. */
function conflist(side: SideName, addresses: string): object {
  const bridge = {
    type: 'bridge',
    bridge: `bench${OCTETS[side]}`,
    isGateway: true,
    ipMasq: true,
    hairpinMode: true,
    ipam: {
      type: 'host-local',
      dataDir: addresses,
      ranges: [[{ subnet: `10.${OCTETS[side]}.0.0/16` }]],
      routes: [{ dst: '0.0.0.0/0' }],
    },
  };
  const portmap = { type: 'portmap', capabilities: { portMappings: true } };
  return { cniVersion: '1.0.0', name: NETWORK, plugins: [bridge, portmap, { type: 'loopback' }] };
}

export function writeConflist(directory: string, side: SideName, addresses: string): void {
  mkdirSync(directory, { recursive: true });
  writeFileSync(join(directory, FILE), JSON.stringify(conflist(side, addresses), undefined, 2));
}

/** The list without what may differ. */
export function normalised(text: string): string {
  return text
    .replace(/"dataDir":\s*"[^"]*"/g, '"dataDir":""')
    .replace(/10\.4[123]\./g, '10.0.')
    .replace(/bench4[123]/g, 'bench')
    .replace(/\s+/g, '');
}

/** Throws FailedPrecondition where two sides have different networks: their times could not be compared. */
export function assertSameNetwork(directories: readonly string[]): void {
  const texts = directories.map((directory) => normalised(readFileSync(join(directory, FILE), 'utf8')));
  if (texts.every((text) => text === texts[0])) return;
  throw new CrispError(
    'FailedPrecondition',
    `the network configurations differ: ${directories.map((directory) => join(directory, FILE)).join(', ')}`,
    { hint: 'run the bench again; it writes both' },
  );
}

/** Throws FailedPrecondition where the peer uses another network than the file in its directory. */
export function assertNetworkInUse(directory: string, statusInfo: Readonly<Record<string, string>>): void {
  const config = JSON.parse(statusInfo['cniconfig'] ?? '{}') as {
    Networks?: readonly { Config?: { Source?: string } }[];
  };
  const inUse = (config.Networks ?? []).map(({ Config }) => normalised(Config?.Source ?? ''));
  if (inUse.includes(normalised(readFileSync(join(directory, FILE), 'utf8')))) return;
  throw otherNetwork('containerd', directory);
}

/**
 * The same of CRI-O, which does not report the list itself: `configuration` is the one that it works with, in TOML, of its endpoint
 * /config. It is ready only with the network of this name from this directory, which must have no other list.
 */
export function assertCrioNetworkInUse(directory: string, configuration: string): void {
  const { crio } = parse(configuration) as {
    crio?: { network?: { network_dir?: string; cni_default_network?: string; plugin_dirs?: string[] } };
  };
  const {
    network_dir: inUse = '',
    cni_default_network: name,
    plugin_dirs: plugins = [],
  } = crio?.network ?? {};
  const isOurs = resolve(inUse) === resolve(directory) && name === NETWORK && plugins.join() === PLUGINS;
  if (isOurs && readdirSync(directory).join() === FILE) return;
  throw otherNetwork('CRI-O', directory);
}

const otherNetwork = (peer: string, directory: string): CrispError =>
  new CrispError('FailedPrecondition', `${peer} does not use the network of ${join(directory, FILE)}`, {
    hint: 'see its log: a wrong conflist or a missing plugin',
  });
