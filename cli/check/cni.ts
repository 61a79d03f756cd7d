/** The CNI configurations, and the plugins that they name. */
import { basename } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import { installing, packages } from '#daemon/preflight/distribution.ts';
import type { NetworkFile } from '#daemon/preflight/network-files.ts';
import type { Node } from '#daemon/preflight/node.ts';
import type { PodNetwork } from '#daemon/preflight/pod-network.ts';
import { distribution } from './programs.ts';
import { type Check, failure, ok, type Result, together, warning } from './result.ts';

/** The plugins of the CNI project, which distributions have as one package. */
const PACKAGED: ReadonlySet<string> = new Set([
  'bandwidth',
  'bridge',
  'dhcp',
  'dummy',
  'firewall',
  'host-device',
  'host-local',
  'ipvlan',
  'loopback',
  'macvlan',
  'portmap',
  'ptp',
  'sbr',
  'static',
  'tap',
  'tuning',
  'vlan',
  'vrf',
]);

export const cniChecks: readonly Check[] = [
  { id: 'cni', run: plugins },
  { id: 'cni-files', run: files },
];

async function plugins(node: Node): Promise<Result> {
  const { confDir } = node.config.cni;
  try {
    await node.networks();
    return together((await node.podNetworks()).map((network) => pluginsOf(network, node)));
  } catch (error) {
    const remedy = error instanceof CrispError ? error.hint : `put a CNI configuration into ${confDir}`;
    const found = describeError(error);
    // Network add-ons write one when the node has joined the cluster; the daemon serves without it.
    if (!/^no CNI configuration in/.test(found)) return failure(await withLine(node, found), remedy);
    return warning(`${found}: the node is NotReady until there is one`, remedy);
  }
}

function pluginsOf(network: PodNetwork, node: Node): Result {
  const { binDirs } = node.config.cni;
  const { types, config } = network;
  const found = `network ${config.name} of ${config.source}, CNI ${config.cniVersion}, plugins ${types.join(' ')}`;
  const missing = types.filter((type) => !binDirs.some((directory) => node.exists(`${directory}/${type}`)));
  if (missing.length > 0) {
    const lacks = `${found}; not in ${binDirs.join(':')}: ${missing.join(' ')}`;
    const remedy = `${installs(node, missing)}; or add their directory to cni.bin_dirs`;
    return node.makesItself(network)
      ? warning(`${lacks} (crisp makes this network itself)`, remedy)
      : failure(lacks, remedy);
  }
  if (network.lacks !== undefined)
    return warning(`${found}; ${network.lacks}`, 'see the pods and the log of the network add-on');
  return ok(found);
}

function installs(node: Node, missing: readonly string[]): string {
  const packaged = missing.some((type) => PACKAGED.has(type));
  const others = missing.filter((type) => !PACKAGED.has(type));
  return [
    ...(packaged ? [installing(packages.plugins, distribution(node))] : []),
    ...(others.length > 0 ? [`${others.join(' ')}: see the network add-on, which brings it`] : []),
  ].join('; ');
}

/** The message with the line of the file that it names. */
async function withLine(node: Node, message: string): Promise<string> {
  const broken = (await node.networkFiles()).find(
    ({ path, line }) => line !== undefined && message.includes(`${path} `),
  );
  return broken ? message.replace(`${broken.path} `, `${placeOf(broken)} `) : message;
}

const placeOf = ({ path, line }: NetworkFile): string => (line === undefined ? path : `${path}:${line}`);

/** What is in the directory beside the network that is used. */
async function files(node: Node): Promise<Result> {
  const { confDir, network: pinned, maxNetworks } = node.config.cni;
  const all = await node.networkFiles();
  const broken = all.filter(({ error }) => error !== undefined);
  if (broken.length > 0) {
    const texts = broken.map((file) => (file.error ?? '').replace(`${file.path} `, `${placeOf(file)} `));
    return warning(
      texts.join('; '),
      'correct the file, or remove it: the first by name counts, broken or not',
    );
  }
  const named = all.filter(({ config }) => pinned === '' || config?.name === pinned);
  const used = named.slice(0, pinned === '' && maxNetworks !== 1 ? maxNetworks || all.length : 1);
  if (used.length === 0) return ok(`${confDir} has no network that is used`);
  const facts = used
    .map(({ path, config }) => `${basename(path)} is used (network ${config?.name})`)
    .join(', ');
  const others = all.filter((file) => !used.includes(file));
  const same = others.filter(({ config }) => used.some((file) => file.config?.name === config?.name));
  if (same.length > 0)
    return warning(
      `${facts}; ${namesOf(same)} has a network of the same name, with the same addresses in use`,
      'remove one of them, or give it another name',
    );
  if (others.length === 0) return ok(facts);
  const found = `${facts}; not used: ${others.map(({ path, config }) => `${basename(path)} (network ${config?.name})`).join(', ')}`;
  if (pinned !== '') return ok(`${found}; cni.network decides`);
  return warning(
    `${found}: the first by name counts`,
    `remove the others where they are of an earlier add-on; or decide: cni.network = ${JSON.stringify(used[0]?.config?.name)}, or cni.max_networks`,
  );
}

const namesOf = (files: readonly NetworkFile[]): string => files.map(({ path }) => basename(path)).join(', ');
