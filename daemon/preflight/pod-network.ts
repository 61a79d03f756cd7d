/** What a CNI configuration means for the node: its programs with those that they delegate to, its addresses, its bridge. */
import { formatIp, type IpAddress, parseIp, widthOf } from '#linux/net/ip-address.ts';
import type { Prefixed } from '#linux/net/node-network.ts';
import type { NetworkConfig } from '#pod-sandbox/index.ts';

/** Addresses of pods from one subnet. */
export interface PodRange {
  /** As the configuration has it. */
  readonly text: string;
  readonly net: Prefixed;
  /** Both ends included. */
  readonly first: bigint;
  readonly last: bigint;
  readonly gateway: IpAddress;
}

export interface PodBridge {
  readonly name: string;
  /** Whether it has the gateways' addresses of the ranges. */
  readonly isGateway: boolean;
}

export interface PodNetwork {
  readonly config: NetworkConfig;
  /** Programs that a pod's ADD executes, in order, each once. */
  readonly types: readonly string[];
  readonly ranges: readonly PodRange[];
  /** Subnets and addresses that are none. */
  readonly invalid: readonly string[];
  /** Whether pods are reached by routes of the node, and not by the network of one of its links. */
  readonly isRouted: boolean;
  readonly bridge: PodBridge | undefined;
  /** Bytes; undefined where the configuration has none. */
  readonly mtu: number | undefined;
  /** Directories in which host-local keeps addresses. */
  readonly addressDirectories: readonly string[];
  /** What a plugin needs and does not find. */
  readonly lacks: string | undefined;
}

type Keys = Readonly<Record<string, unknown>>;

const SUBNET_FILE = '/run/flannel/subnet.env';
const DATA_DIR = '/var/lib/cni/networks';
/** These make links that the node has no part in: pods are in the network of their master. */
const NOT_ROUTED: ReadonlySet<string> = new Set(['macvlan', 'ipvlan', 'vlan', 'host-device']);

/** `text` reads a file of the node. */
export function podNetworkOf(config: NetworkConfig, text: (path: string) => string | undefined): PodNetwork {
  const expanded = config.plugins.map((plugin) => expand(plugin, text));
  const plugins = expanded.flatMap((one) => one.plugins);
  const ipams = plugins.flatMap(({ ipam }) => (isKeys(ipam) ? [ipam] : []));
  const local = ipams.filter(({ type }) => type === 'host-local');
  const parsed = local.flatMap(rangesOf);
  const bridge = plugins.find(({ type }) => type === 'bridge');
  const [main] = plugins.filter(({ type }) => type !== 'flannel');
  const types = plugins.flatMap(({ type, ipam }) => [type, isKeys(ipam) ? ipam['type'] : undefined]);
  return {
    config,
    types: [...new Set(types.filter((type) => typeof type === 'string' && type !== ''))] as string[],
    ranges: parsed.filter((range) => typeof range !== 'string'),
    invalid: parsed.filter((range) => typeof range === 'string'),
    isRouted: !NOT_ROUTED.has(String(main?.['type'])),
    bridge: bridge && {
      name: typeof bridge['bridge'] === 'string' ? bridge['bridge'] : 'cni0',
      isGateway: bridge['isGateway'] === true || bridge['isDefaultGateway'] === true,
    },
    mtu: plugins.map(({ mtu }) => mtu).find((mtu) => typeof mtu === 'number' && mtu > 0) as
      | number
      | undefined,
    addressDirectories: [...new Set(local.map(({ dataDir }) => `${pathOf(dataDir)}/${config.name}`))],
    lacks: expanded.map(({ lacks }) => lacks).find((why) => why !== undefined),
  };
}

/** The families of the ranges; IPv4 where these are not known. */
export const familiesOf = (network: PodNetwork | undefined): readonly (4 | 6)[] => {
  const families = new Set(network?.ranges.map(({ net }) => net.ip.family));
  return families.size === 0 ? [4] : [...families];
};

interface Expanded {
  readonly plugins: readonly Keys[];
  readonly lacks?: string;
}

/** A plugin and those that it executes. */
function expand(plugin: Keys, text: (path: string) => string | undefined): Expanded {
  if (plugin['type'] === 'flannel') return expandFlannel(plugin, text);
  const listed = [plugin['delegate'], ...(Array.isArray(plugin['delegates']) ? plugin['delegates'] : [])];
  const delegates = listed.filter(isKeys).flatMap((one) => {
    const chain = one['plugins'];
    return Array.isArray(chain) ? chain.filter(isKeys) : [one];
  });
  const inner = delegates.map((one) => expand(one, text));
  const lacks = inner.map((one) => one.lacks).find((why) => why !== undefined);
  return {
    plugins: [plugin, ...inner.flatMap((one) => one.plugins)],
    ...(lacks === undefined ? {} : { lacks }),
  };
}

/** As the plugin flannel fills in its delegate, from the file that flanneld writes. */
function expandFlannel(plugin: Keys, text: (path: string) => string | undefined): Expanded {
  const path = typeof plugin['subnetFile'] === 'string' ? plugin['subnetFile'] : SUBNET_FILE;
  const content = text(path);
  const value = (key: string) => new RegExp(`^${key}=(.*)$`, 'm').exec(content ?? '')?.[1]?.trim();
  const subnets = [value('FLANNEL_SUBNET'), value('FLANNEL_IPV6_SUBNET')]
    .filter((subnet) => subnet !== undefined && subnet !== '')
    .flatMap((subnet) => (subnet ?? '').split(','))
    .map(withoutHost); // flanneld writes the gateway's address
  const given = isKeys(plugin['delegate']) ? plugin['delegate'] : {};
  const delegate: Keys = {
    type: 'bridge',
    ...(value('FLANNEL_MTU') === undefined ? {} : { mtu: Number(value('FLANNEL_MTU')) }),
    ...(given['type'] === undefined || given['type'] === 'bridge' ? { isGateway: true } : {}),
    ...given,
    ipam: {
      type: 'host-local',
      ...(isKeys(given['ipam']) ? given['ipam'] : {}),
      ranges: subnets.map((subnet) => [{ subnet }]),
    },
  };
  const lacks = content === undefined ? `${path} is not there: flanneld has not written it` : undefined;
  return { plugins: [plugin, delegate], ...(lacks === undefined ? {} : { lacks }) };
}

/** Of an ipam section of host-local; a text where one is invalid. */
function rangesOf(ipam: Keys): (PodRange | string)[] {
  const sets = Array.isArray(ipam['ranges']) ? ipam['ranges'].flat() : [];
  const single = ipam['subnet'] === undefined ? [] : [ipam];
  return [...single, ...sets.filter(isKeys)].map(rangeOf);
}

function rangeOf({ subnet, rangeStart, rangeEnd, gateway }: Keys): PodRange | string {
  const net = parsePrefix(String(subnet));
  if (!net) return `subnet ${JSON.stringify(subnet)} is not a network such as 10.85.0.0/24`;
  const { family } = net.ip;
  const base = networkOf(net);
  if (base !== net.ip.value) return `subnet ${String(subnet)} is not ${withoutHost(String(subnet))}`;
  const end = base + (1n << BigInt(widthOf(family) - net.prefixLength)) - 1n;
  const within = (name: string, text: unknown, otherwise: bigint): bigint | string => {
    if (text === undefined) return otherwise;
    const ip = typeof text === 'string' ? parseIp(text) : undefined;
    if (ip?.family === family && ip.value >= base && ip.value <= end) return ip.value;
    return `${name} ${JSON.stringify(text)} is not in ${String(subnet)}`;
  };
  const first = within('rangeStart', rangeStart, base + 1n);
  const last = within('rangeEnd', rangeEnd, end);
  const router = within('gateway', gateway, base + 1n);
  if (typeof first === 'string') return first;
  if (typeof last === 'string') return last;
  if (typeof router === 'string') return router;
  return { text: String(subnet), net, first, last, gateway: { family, value: router } };
}

/** `10.1.2.3/24`, with the address as it is; undefined for what is not one. */
export function parsePrefix(text: string): Prefixed | undefined {
  const [, address = '', length = ''] = /^([0-9A-Fa-f.:]+)\/(\d{1,3})$/.exec(text) ?? [];
  const ip = parseIp(address);
  const prefixLength = Number(length);
  return ip && prefixLength <= widthOf(ip.family) ? { ip, prefixLength } : undefined;
}

export const formatPrefix = ({ ip, prefixLength }: Prefixed): string => `${formatIp(ip)}/${prefixLength}`;

export function isOfRange({ net, first, last }: PodRange, address: string): boolean {
  const ip = parseIp(address);
  return ip?.family === net.ip.family && ip.value >= first && ip.value <= last;
}

/** `10.85.0.0/24`, or `10.85.0.10 to 10.85.0.20 of 10.85.0.0/24`. */
export function describeRange({ text, net, first, last }: PodRange): string {
  const base = networkOf(net);
  const end = base + (1n << BigInt(widthOf(net.ip.family) - net.prefixLength)) - 1n;
  if (first <= base + 1n && last === end) return text;
  const { family } = net.ip;
  const [from, to] = [first, last].map((value) => formatIp({ family, value }));
  return `${from} to ${to} of ${text}`;
}

/** The first address of the prefix. */
export function networkOf({ ip, prefixLength }: Prefixed): bigint {
  const bits = BigInt(widthOf(ip.family) - prefixLength);
  return (ip.value >> bits) << bits;
}

/** `10.1.2.3/24` as `10.1.2.0/24`. */
function withoutHost(text: string): string {
  const prefix = parsePrefix(text);
  if (!prefix) return text;
  const { family } = prefix.ip;
  return formatPrefix({ ...prefix, ip: { family, value: networkOf(prefix) } });
}

const isKeys = (value: unknown): value is Keys =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

const pathOf = (dataDir: unknown): string => (typeof dataDir === 'string' ? dataDir : DATA_DIR);
