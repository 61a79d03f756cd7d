/**
 * The CNI plugin `flannel`: it has no network of its own, but delegates to bridge with the subnet that flannel's daemon has
 * written for this node. The delegate's configuration is kept in the plugin's directory and in its form, so that the plugin
 * undoes what crisp has made, and crisp what the plugin has.
 */
import { mkdir, readFile, unlink, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { formatIp, parseIp, widthOf } from '#linux/net/ip-address.ts';
import type { NetworkConfig, PluginConfig } from '../cni/conflist.ts';
import { pluginFailed } from '../cni/plugin-failed.ts';

/** The plugin's own defaults. */
const SUBNET_FILE = '/run/flannel/subnet.env';
const DATA_DIR = '/var/lib/cni/flannel';

/** What flannel's daemon says of this node. */
export interface FlannelSubnet {
  /** The pod networks of the cluster, in CIDR form. */
  readonly networks: readonly string[];
  /** The node's own parts of them, at most one of each family. */
  readonly subnets: readonly string[];
  readonly mtu: number;
  /** Whether the daemon masquerades by itself. */
  readonly ipMasq: boolean;
}

/** Stands for any node's. */
export const ANY_SUBNET: FlannelSubnet = {
  networks: ['10.0.0.0/8', 'fd00::/8'],
  subnets: ['10.0.0.0/24', 'fd00::/64'],
  mtu: 1450,
  ipMasq: false,
};

const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);
const isPath = (value: unknown): boolean =>
  value === undefined || (typeof value === 'string' && value.startsWith('/'));
const KEYS = ['type', 'name', 'cniVersion', 'subnetFile', 'dataDir', 'delegate', 'ipam'];
/** What the plugin sets itself, and refuses here. */
const SET_BY_FLANNEL = ['name', 'ipam'];

/** The list's flannel plugin, where crisp knows all of its keys; the delegate's are those of bridge. */
export function flannelOf({ plugins }: Pick<NetworkConfig, 'plugins'>): PluginConfig | undefined {
  const plugin = plugins.find(({ type }) => type === 'flannel');
  if (!plugin || !Object.keys(plugin).every((key) => KEYS.includes(key))) return undefined;
  const { subnetFile, dataDir, delegate = {}, ipam = {} } = plugin;
  if (!isPath(subnetFile) || !isPath(dataDir) || !isObject(delegate) || !isObject(ipam)) return undefined;
  const { routes = [] } = ipam;
  if (!Array.isArray(routes) || SET_BY_FLANNEL.some((key) => Object.hasOwn(delegate, key))) return undefined;
  return plugin;
}

/** The configuration with which flannel calls its delegate. */
export function delegateOf(
  { delegate, ipam }: PluginConfig,
  { name, cniVersion }: Pick<NetworkConfig, 'name' | 'cniVersion'>,
  { networks, subnets, mtu, ipMasq }: FlannelSubnet,
): PluginConfig {
  const given = isObject(delegate) ? delegate : {};
  const addresses = isObject(ipam) ? ipam : {};
  const routes = Array.isArray(addresses['routes']) ? addresses['routes'] : [];
  const { type } = given;
  const isBridge = type === undefined || type === 'bridge';
  return {
    type: 'bridge',
    ipMasq: !ipMasq,
    mtu,
    ...(isBridge ? { isGateway: true } : {}),
    ...given,
    name,
    cniVersion,
    ipam: {
      type: 'host-local',
      ...addresses,
      ranges: subnets.map((subnet) => [{ subnet }]),
      routes: [...routes.map(canonicalRoute), ...networks.map((dst) => ({ dst }))],
    },
  };
}

/** The plugin parses them and writes them anew. What it would refuse is left as it is. */
function canonicalRoute(route: unknown): unknown {
  if (!isObject(route)) return route;
  return Object.fromEntries(
    Object.entries(route).map(([key, text]) => {
      const [address = '', ...length] = typeof text === 'string' ? text.split('/') : [];
      const ip = parseIp(address);
      return [key, ip ? [formatIp(ip), ...length].join('/') : text];
    }),
  );
}

/** Reads the subnet of this node. Throws NetworkFailed where flannel's daemon has not written it, or not in full. */
export async function readSubnet(plugin: PluginConfig, config: NetworkConfig): Promise<FlannelSubnet> {
  const file = pathOf(plugin, 'subnetFile', SUBNET_FILE);
  try {
    return parseSubnet(file, await readFile(file, 'utf8'));
  } catch (error) {
    const why =
      errnoOf(error) === 'ENOENT' ? `open ${file}: no such file or directory` : describeError(error);
    throw pluginFailed(plugin, config, `ADD: failed to load flannel 'subnet.env' file: ${why}`, {
      cause: error,
      hint: "flannel's daemon writes it when it has started on this node: see its pod and the log of that",
    });
  }
}

/** Throws NetworkFailed with the first thing that is wrong. Later lines win. */
export function parseSubnet(file: string, text: string): FlannelSubnet {
  const found = new Map(
    text.split(/\r?\n/).map((line) => {
      const at = line.indexOf('=');
      return at < 0 ? [line, ''] : [line.slice(0, at), line.slice(at + 1)];
    }),
  );
  const cidrs = (key: string): string[] | undefined => {
    const value = found.get(key);
    return value === undefined ? undefined : [...new Set(value.split(',').map((one) => network(key, one)))];
  };
  const networks = [cidrs('FLANNEL_NETWORK'), cidrs('FLANNEL_IPV6_NETWORK')].flatMap((list) => list ?? []);
  const subnets = ['FLANNEL_SUBNET', 'FLANNEL_IPV6_SUBNET'].flatMap((key) => {
    const value = found.get(key);
    return value === undefined ? [] : [network(key, value)];
  });
  const mtu = found.get('FLANNEL_MTU');
  const ipMasq = found.get('FLANNEL_IPMASQ');
  const missing = [
    ...(networks.length === 0 ? ['FLANNEL_NETWORK', 'FLANNEL_IPV6_NETWORK'] : []),
    ...(subnets.length === 0 ? ['FLANNEL_SUBNET', 'FLANNEL_IPV6_SUBNET'] : []),
    ...(mtu === undefined ? ['FLANNEL_MTU'] : []),
    ...(ipMasq === undefined ? ['FLANNEL_IPMASQ'] : []),
  ];
  if (missing.length > 0) throw new CrispError('NetworkFailed', `${file} is missing ${missing.join(', ')}`);
  if (!/^\d{1,9}$/.test(mtu ?? ''))
    throw new CrispError('NetworkFailed', `FLANNEL_MTU is ${JSON.stringify(mtu)}, not a number`);
  return { networks, subnets, mtu: Number(mtu), ipMasq: ipMasq === 'true' };
}

/** In CIDR form, without bits beyond its prefix. */
function network(key: string, text: string): string {
  const [address = '', length = '', more] = text.split('/');
  const ip = parseIp(address);
  if (!ip || more !== undefined || !/^\d{1,3}$/.test(length) || Number(length) > widthOf(ip.family))
    throw new CrispError('NetworkFailed', `${key}: invalid CIDR address: ${JSON.stringify(text)}`);
  const bits = BigInt(widthOf(ip.family) - Number(length));
  return `${formatIp({ family: ip.family, value: (ip.value >> bits) << bits })}/${Number(length)}`;
}

/** Keeps the delegate for DEL, before it has any effect. */
export async function keepDelegate(
  id: SandboxId,
  plugin: PluginConfig,
  delegate: PluginConfig,
): Promise<void> {
  const path = keptAt(id, plugin);
  try {
    await mkdir(pathOf(plugin, 'dataDir', DATA_DIR), { recursive: true, mode: 0o700 });
    await writeFile(path, JSON.stringify(sorted(delegate)), { mode: 0o600 });
  } catch (error) {
    throw new CrispError('NetworkFailed', `${path} cannot be written: ${describeError(error)}`, {
      cause: error,
      hint: "check the directory of the CNI plugin flannel, its 'dataDir'",
    });
  }
}

/** The kept delegate; undefined where there is none, or not in full: then it has had no effect. */
export async function keptDelegate(id: SandboxId, plugin: PluginConfig): Promise<PluginConfig | undefined> {
  let text: string;
  try {
    text = await readFile(keptAt(id, plugin), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    throw error;
  }
  try {
    const kept: unknown = JSON.parse(text);
    return isObject(kept) && typeof kept['type'] === 'string' ? { ...kept, type: kept['type'] } : undefined;
  } catch {
    return undefined;
  }
}

/** After DEL. */
export async function forgetDelegate(id: SandboxId, plugin: PluginConfig): Promise<void> {
  await unlink(keptAt(id, plugin)).catch((error: unknown) => {
    if (errnoOf(error) !== 'ENOENT') throw error;
  });
}

const keptAt = (id: SandboxId, plugin: PluginConfig): string => join(pathOf(plugin, 'dataDir', DATA_DIR), id);

const pathOf = (plugin: PluginConfig, key: 'subnetFile' | 'dataDir', otherwise: string): string => {
  const given = plugin[key];
  return typeof given === 'string' ? given : otherwise;
};

/** With its keys in order, as the plugin writes them. */
function sorted(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(sorted);
  if (!isObject(value)) return value;
  return Object.fromEntries(
    Object.keys(value)
      .sort()
      .map((key) => [key, sorted(value[key])]),
  );
}
