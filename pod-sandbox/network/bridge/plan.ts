/**
 * The configurations that crisp makes in its own process: bridge or ptp with host-local, portmap, bandwidth, tuning, firewall and
 * loopback, with keys that are fully implemented here. All others, valid or not, are left to the plugins.
 */
import { formatIp, parseIp, widthOf } from '#linux/net/ip-address.ts';
import type { Bandwidth } from '../cni/bandwidth.ts';
import { isAtLeast, type NetworkConfig, type PluginConfig } from '../cni/conflist.ts';
import { hostLocalDirectory } from '../cni/host-local-directories.ts';
import {
  type Check,
  type Form,
  fits,
  frame,
  isBackend,
  isBoolean,
  isLinkName,
  isMtu,
  isNumber,
  isOff,
  isPath,
  isText,
  listOf,
} from './forms.ts';
import { type Firewall, firewallOf, isFirewall } from './forward-rules.ts';
import type { PodRules, RuleBackend } from './nat-rules.ts';
import { isTuning, type Tuning, tuningOf } from './tuning.ts';

/** Addresses that host-local assigns from one subnet, as numbers, both ends included. */
export interface AddressRange {
  readonly family: 4 | 6;
  readonly prefixLength: number;
  readonly first: bigint;
  readonly last: bigint;
  /** Never assigned. */
  readonly gateway: bigint;
}

export interface PlannedRoute {
  readonly family: 4 | 6;
  readonly destination: string;
  readonly prefixLength: number;
  /** undefined: the gateway of the pod's own address. */
  readonly gateway: string | undefined;
}

export interface BridgePlan {
  /** undefined: ptp, the pod's link goes to the node itself; what is said of the bridge does not count then. */
  readonly bridge: string | undefined;
  readonly gateway: boolean;
  readonly defaultGateway: boolean;
  readonly masquerade: boolean;
  readonly hairpin: boolean;
  /** Whether addresses of the bridge that clash with the gateways are removed. */
  readonly forceAddress: boolean;
  readonly mtu: number;
  /** host-local's directory of this network. */
  readonly directory: string;
  /** At most one of each family; the index in the list is host-local's number of the range. */
  readonly ranges: readonly AddressRange[];
  readonly routes: readonly PlannedRoute[];
  readonly loopback: boolean;
  /** undefined: without portmap, or it is not given the ports. */
  readonly portmap: { readonly snat: boolean } | undefined;
  /** The limits, or that they are those of the pod; undefined: none. */
  readonly bandwidth: Bandwidth | 'capability' | undefined;
  /** Of the pod's link; undefined: none. */
  readonly tuning: Tuning | undefined;
  /** Of what is forwarded to and from the pod; undefined: none. */
  readonly firewall: Firewall | undefined;
  /** As configured: the bridge's `ipMasqBackend`, and portmap's `backend`. */
  readonly backends: PodRules['backends'];
}

const range: Form = { subnet: isText, rangeStart: isText, rangeEnd: isText, gateway: isText };
const ipam: Form = {
  ...range,
  type: (value) => value === 'host-local',
  dataDir: isPath,
  ranges: listOf((set) => Array.isArray(set) && set.length === 1 && fits(range)(set[0])),
  routes: listOf(fits({ dst: isText, gw: isText })),
};
const limits: Form = {
  ingressRate: isNumber,
  ingressBurst: isNumber,
  egressRate: isNumber,
  egressBurst: isNumber,
};
const forms: Readonly<Record<string, Check>> = {
  bridge: fits({
    ...frame,
    bridge: isLinkName,
    isGateway: isBoolean,
    isDefaultGateway: isBoolean,
    ipMasq: isBoolean,
    ipMasqBackend: isBackend,
    hairpinMode: isBoolean,
    mtu: isMtu,
    promiscMode: isOff,
    forceAddress: isBoolean,
    ipam: fits(ipam),
  }),
  ptp: fits({ ...frame, ipMasq: isBoolean, ipMasqBackend: isBackend, mtu: isMtu, ipam: fits(ipam) }),
  portmap: fits({
    ...frame,
    capabilities: fits({ portMappings: isBoolean }),
    snat: isBoolean,
    backend: isBackend,
  }),
  bandwidth: fits({ ...frame, capabilities: fits({ bandwidth: isBoolean }), ...limits }),
  tuning: isTuning,
  firewall: isFirewall,
  loopback: fits(frame),
};

interface RangeKeys {
  readonly subnet?: string;
  readonly rangeStart?: string;
  readonly rangeEnd?: string;
  readonly gateway?: string;
}

interface IpamKeys extends RangeKeys {
  readonly dataDir?: string;
  readonly ranges?: readonly (readonly RangeKeys[])[];
  readonly routes?: readonly { readonly dst?: string; readonly gw?: string }[];
}

/** Of bridge; ptp has some of them. */
interface BridgeKeys {
  readonly bridge?: string;
  readonly isGateway?: boolean;
  readonly isDefaultGateway?: boolean;
  readonly ipMasq?: boolean;
  readonly ipMasqBackend?: RuleBackend;
  readonly hairpinMode?: boolean;
  readonly forceAddress?: boolean;
  readonly mtu?: number;
  readonly ipam?: IpamKeys;
}

/** Rules carry the name in a comment of 255 bytes, beside an id of 64 digits. */
const MAX_NAME = 100;
/** The versions that the plugins 1.1.1 support. */
const VERSIONS: readonly string[] = ['0.3.0', '0.3.1', '0.4.0', '1.0.0'];

/** undefined: for the plugins. */
export function bridgePlan(config: NetworkConfig): BridgePlan | undefined {
  const { name, cniVersion, plugins } = config;
  if (!VERSIONS.includes(cniVersion) || name.length > MAX_NAME) return undefined;
  const types = plugins.map(({ type }) => type);
  const first = types.findIndex((type) => type === 'bridge' || type === 'ptp');
  const isTwice = new Set(types).size !== types.length || (types.includes('bridge') && types.includes('ptp'));
  if (first < 0 || isTwice) return undefined;
  const known = (plugin: PluginConfig) => Object.hasOwn(forms, plugin.type) && forms[plugin.type]?.(plugin);
  if (!plugins.every(known)) return undefined;
  // They need the result of the first; and that of portmap would be taken for the whole network's.
  if (types.slice(0, first).some((type) => type !== 'loopback')) return undefined;
  const firewall = firewallOf(plugins[types.indexOf('firewall')]);
  // The plugin knows no earlier version, and takes the first link of the result, with ptp the node's end of the pod's, for a bridge.
  if (firewall && !isAtLeast(config, '0.4.0')) return undefined;
  if (firewall?.sameBridge && types.includes('ptp')) return undefined;
  const bridge = plugins[first] as BridgeKeys;
  const portmap = plugins[types.indexOf('portmap')] as
    | {
        readonly capabilities?: { readonly portMappings?: boolean };
        readonly snat?: boolean;
        readonly backend?: RuleBackend;
      }
    | undefined;
  const addresses = bridge.ipam && addressPlan(bridge.ipam);
  if (!addresses) return undefined;
  const defaultGateway = bridge.isDefaultGateway ?? false;
  // A second default route: the plugin 1.1.1 fails, a later one leaves it out.
  if (defaultGateway && addresses.routes.some(({ prefixLength }) => prefixLength === 0)) return undefined;
  return {
    bridge: types.includes('ptp') ? undefined : (bridge.bridge ?? 'cni0'),
    gateway: defaultGateway || (bridge.isGateway ?? false),
    defaultGateway,
    masquerade: bridge.ipMasq ?? false,
    hairpin: bridge.hairpinMode ?? false,
    forceAddress: bridge.forceAddress ?? false,
    mtu: bridge.mtu ?? 0,
    directory: hostLocalDirectory(name, bridge.ipam?.dataDir),
    ...addresses,
    loopback: types.includes('loopback'),
    portmap: portmap?.capabilities?.portMappings ? { snat: portmap.snat ?? true } : undefined,
    bandwidth: bandwidthPlan(plugins[types.indexOf('bandwidth')]),
    tuning: tuningOf(plugins[types.indexOf('tuning')]),
    firewall,
    backends: {
      ...(bridge.ipMasqBackend ? { masquerade: bridge.ipMasqBackend } : {}),
      ...(portmap?.backend ? { ports: portmap.backend } : {}),
    },
  };
}

/** What the configuration itself says goes before what the pod says. */
function bandwidthPlan(plugin: PluginConfig | undefined): BridgePlan['bandwidth'] {
  if (!plugin) return undefined;
  const own = Object.entries(plugin).filter(([key]) => Object.hasOwn(limits, key));
  if (own.length > 0) return Object.fromEntries(own);
  return plugin.capabilities?.['bandwidth'] === true ? 'capability' : undefined;
}

function addressPlan(ipam: IpamKeys): Pick<BridgePlan, 'ranges' | 'routes'> | undefined {
  const { ranges: sets = [], routes = [], dataDir: _, ...own } = ipam;
  const single = own.subnet === undefined ? [] : [own];
  if (single.length === 0 && (own.rangeStart ?? own.rangeEnd ?? own.gateway) !== undefined) return undefined;
  const parsedRanges = [...single, ...sets.flat()].map(parseRange);
  const parsedRoutes = routes.map(parseRoute);
  const ranges = parsedRanges.filter((one) => one !== undefined);
  const families = ranges.map(({ family }) => family);
  if (ranges.length === 0 || new Set(families).size !== parsedRanges.length) return undefined;
  const whole = parsedRoutes.filter((one) => one !== undefined && families.includes(one.family));
  if (whole.length !== routes.length) return undefined;
  return { ranges, routes: whole as PlannedRoute[] };
}

/** undefined where host-local would refuse it, or might interpret it differently. */
function parseRange({ subnet = '', rangeStart, rangeEnd, gateway }: RangeKeys): AddressRange | undefined {
  const net = parseNetwork(subnet);
  if (!net) return undefined;
  const { family, value, prefixLength } = net;
  const bits = BigInt(widthOf(family) - prefixLength);
  if (bits < 2n) return undefined;
  const end = value + (1n << bits) - (family === 4 ? 2n : 1n);
  const within = (text: string | undefined, otherwise: bigint): bigint => {
    if (text === undefined) return otherwise;
    const ip = parseIp(text);
    return ip && ip.family === family && ip.value > value && ip.value <= end ? ip.value : -1n;
  };
  const first = within(rangeStart, value + 1n);
  const last = within(rangeEnd, end);
  const router = within(gateway, value + 1n);
  if (first < 0n || last < first || router < 0n) return undefined;
  return { family, prefixLength, first, last, gateway: router };
}

function parseRoute({
  dst = '',
  gw,
}: {
  readonly dst?: string;
  readonly gw?: string;
}): PlannedRoute | undefined {
  const net = parseNetwork(dst);
  const gateway = gw === undefined ? undefined : parseIp(gw);
  if (!net || (gw !== undefined && gateway?.family !== net.family)) return undefined;
  const { family, value, prefixLength } = net;
  const by = gateway && formatIp(gateway);
  return { family, destination: formatIp({ family, value }), prefixLength, gateway: by };
}

/** A network in CIDR form without bits beyond its prefix. */
function parseNetwork(
  text: string,
): { readonly family: 4 | 6; readonly value: bigint; readonly prefixLength: number } | undefined {
  const match = /^([0-9A-Fa-f.:]+)\/(\d{1,3})$/.exec(text);
  const ip = parseIp(match?.[1] ?? '');
  const prefixLength = Number(match?.[2]);
  if (!ip || String(prefixLength) !== match?.[2] || prefixLength > widthOf(ip.family)) return undefined;
  const bits = BigInt(widthOf(ip.family) - prefixLength);
  return (ip.value >> bits) << bits === ip.value ? { ...ip, prefixLength } : undefined;
}
