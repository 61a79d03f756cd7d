/**
 * The rules of one pod that the CNI plugin `firewall` 1.1.1 writes with iptables: in the table filter, what goes to and comes from
 * the pod's address is accepted. The chains, and the jumps there, are shared by all pods, made once and never removed. The texts
 * are input of `iptables-restore --noflush`, which applies all or nothing.
 */
import type { PluginConfig } from '../cni/conflist.ts';
import { type Check, fits, frame, isText } from './forms.ts';

/** The configuration, as far as iptables is concerned. */
export interface Firewall {
  /** Whether firewalld goes before iptables where it is running. */
  readonly prefersFirewalld: boolean;
  /** For rules of the operator; it goes before those of the pods. */
  readonly adminChain: string;
  /** Whether pods of other bridges are kept away. */
  readonly sameBridge: boolean;
}

/** Whose rules they are, and in which family. */
export interface ForwardOwner {
  readonly network: string;
  readonly id: string;
  readonly family: 4 | 6;
}

export interface ForwardRules extends ForwardOwner {
  /** The pod's addresses of that family. */
  readonly ips: readonly string[];
  readonly adminChain: string;
  /** The bridge that pods of others are kept away from; undefined: none. */
  readonly bridge: string | undefined;
}

export interface SharedForwardRule {
  readonly chain: string;
  readonly match: string;
  /** Before all others; else behind them. */
  readonly first: boolean;
}

/** Has the rules of all pods. */
export const FORWARD = 'CNI-FORWARD';
const ADMIN = 'CNI-ADMIN';
const LEAVING = 'CNI-ISOLATION-STAGE-1';
const ARRIVING = 'CNI-ISOLATION-STAGE-2';

/** Names of capitals alone are of targets and of the kernel's own chains: what a jump there means the plugin may find out. */
const isAdminChain: Check = (value) =>
  value === '' ||
  (typeof value === 'string' &&
    /^[A-Za-z0-9][A-Za-z0-9_-]{0,27}$/.test(value) &&
    /[^A-Z]/.test(value) &&
    ![FORWARD, LEAVING, ARRIVING].includes(value));

/** The back end firewalld, and policies of later versions, are the plugin's. */
export const isFirewall: Check = fits({
  ...frame,
  backend: (value) => value === '' || value === 'iptables',
  iptablesAdminChainName: isAdminChain,
  firewalldZone: isText,
  ingressPolicy: (value) => value === '' || value === 'open' || value === 'same-bridge',
});

export function firewallOf(plugin: PluginConfig | undefined): Firewall | undefined {
  if (!plugin) return undefined;
  const { backend, iptablesAdminChainName, ingressPolicy } = plugin;
  return {
    prefersFirewalld: backend !== 'iptables',
    adminChain: String(iptablesAdminChainName || ADMIN),
    sameBridge: ingressPolicy === 'same-bridge',
  };
}

/** What CHECK of the plugin looks for, too. */
export const jumps = ({ adminChain }: Pick<ForwardRules, 'adminChain'>): readonly SharedForwardRule[] => [
  { chain: 'FORWARD', match: `${comment('CNI firewall plugin rules')} -j ${FORWARD}`, first: true },
  {
    chain: FORWARD,
    match: `${comment('CNI firewall plugin admin overrides')} -j ${adminChain}`,
    first: true,
  },
];

/** In the order in which they are made. */
export const sharedForwardRules = (rules: ForwardRules): readonly SharedForwardRule[] => [
  ...jumps(rules),
  ...(rules.bridge === undefined ? [] : isolation(rules.bridge)),
];

export const sharedForwardChains = ({ adminChain, bridge }: ForwardRules): readonly string[] => [
  FORWARD,
  adminChain,
  ...(bridge === undefined ? [] : [LEAVING, ARRIVING]),
];

/** What has come in by a bridge does not go out by another one that has this policy. */
function isolation(bridge: string): SharedForwardRule[] {
  const text = comment('CNI firewall plugin rules (ingressPolicy: same-bridge)');
  return [
    { chain: 'FORWARD', match: `${text} -j ${LEAVING}`, first: true },
    { chain: LEAVING, match: `-i ${bridge} ! -o ${bridge} ${text} -j ${ARRIVING}`, first: true },
    { chain: LEAVING, match: `${text} -j RETURN`, first: false },
    { chain: ARRIVING, match: `-o ${bridge} ${text} -j DROP`, first: true },
    { chain: ARRIVING, match: `${text} -j RETURN`, first: false },
  ];
}

/** The pod's own, in the form in which `iptables -S` lists them behind `-A`. */
export const ownForwardRules = ({ family, ips }: Pick<ForwardRules, 'family' | 'ips'>): readonly string[] =>
  ips.flatMap((ip) => {
    const host = `${ip}/${family === 4 ? 32 : 128}`;
    return [
      `${FORWARD} -d ${host} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT`,
      `${FORWARD} -s ${host} -j ACCEPT`,
    ];
  });

/** The pod's own rules that a listing has, and those that it lacks. */
export function partition(
  rules: Pick<ForwardRules, 'family' | 'ips'>,
  listing: string,
): { readonly present: readonly string[]; readonly absent: readonly string[] } {
  const lines = new Set(listing.split('\n'));
  const own = ownForwardRules(rules);
  const isPresent = (rule: string) => lines.has(`-A ${rule}`);
  return { present: own.filter(isPresent), absent: own.filter((rule) => !isPresent(rule)) };
}

/** `absent` of the own rules, where all shared ones exist: it fails as a whole where one is missing. */
export const forwardAddition = (rules: ForwardRules, absent: readonly string[]): string =>
  batch([
    ...sharedForwardRules(rules).map(({ chain, match }) => `-C ${chain} ${match}`),
    ...absent.map((rule) => `-A ${rule}`),
  ]);

/** The same with those shared ones that are missing; their chains are there. */
export const forwardAdditionWith = (
  absent: readonly string[],
  missing: readonly SharedForwardRule[],
): string =>
  batch([
    ...missing.map(({ chain, match, first }) => (first ? `-I ${chain} 1 ${match}` : `-A ${chain} ${match}`)),
    ...absent.map((rule) => `-A ${rule}`),
  ]);

/** Removes each of them once; it fails as a whole where one is missing. */
export const forwardRemoval = (own: readonly string[]): string => batch(own.map((rule) => `-D ${rule}`));

/** Fails where one is missing; changes nothing. */
export const forwardCheck = (rules: readonly string[]): string => batch(rules.map((rule) => `-C ${rule}`));

const batch = (lines: readonly string[]): string => `*filter\n${lines.join('\n')}\nCOMMIT\n`;

const comment = (text: string): string => `-m comment --comment "${text}"`;
