/**
 * The packet filter's rules of one pod, as the CNI plugins bridge (ipMasq) and portmap 1.1.1 write them: one chain of
 * its own for each, and the jumps there. All texts are input of `iptables-restore --noflush`, which applies all
 * or nothing.
 */
import { createHash } from 'node:crypto';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { HostPort, Masquerade } from '#linux/ports/kernel.ts';

export type PublishedPort = HostPort;

/** What writes the rules: the node's iptables, or crisp itself into tables of nf_tables. */
export type RuleBackend = 'iptables' | 'nftables';

/** What the rules of one family depend on. */
export interface PodRules {
  readonly network: string;
  readonly id: string;
  /** Of the pod. */
  readonly interfaceName: string;
  readonly family: 4 | 6;
  /** undefined: not known, since ADD has failed. */
  readonly address: { readonly ip: string; readonly prefixLength: number } | undefined;
  readonly masquerade: boolean;
  readonly ports: readonly PublishedPort[];
  /** Whether the node and the pod itself may use the published ports. */
  readonly snat: boolean;
  /** Whether the network publishes ports; which, is not known of a pod whose record is lost. */
  readonly publishes: boolean;
  /** As the configuration wants it; a part without: iptables where the node has it. */
  readonly backends: { readonly masquerade?: RuleBackend; readonly ports?: RuleBackend };
}

/** Has the jumps to the pods' chains of published ports. */
export const DNAT = 'CNI-HOSTPORT-DNAT';
const MARK = 'CNI-HOSTPORT-SETMARK';
const MASQUERADE = 'CNI-HOSTPORT-MASQ';
/** The most ports that a rule of `multiport` takes. */
const MULTIPORT = 15;
const BIT = '0x2000/0x2000';

interface SharedRule {
  readonly chain: string;
  readonly match: string;
  readonly first?: true;
}

/** What all published ports of a node share: made once, never removed. */
const dnatRules: readonly SharedRule[] = [
  { chain: 'PREROUTING', match: `-m addrtype --dst-type LOCAL -j ${DNAT}` },
  { chain: 'OUTPUT', match: `-m addrtype --dst-type LOCAL -j ${DNAT}` },
];
const snatRules: readonly SharedRule[] = [
  { chain: MARK, match: `-m comment --comment "CNI portfwd masquerade mark" -j MARK --set-xmark ${BIT}` },
  { chain: MASQUERADE, match: `-m mark --mark ${BIT} -j MASQUERADE` },
  {
    chain: 'POSTROUTING',
    match: `-m comment --comment "CNI portfwd requiring masquerade" -j ${MASQUERADE}`,
    first: true,
  },
];

export const sharedRules = (snat: boolean): readonly SharedRule[] => [
  ...(snat ? snatRules : []),
  ...dnatRules,
];
export const sharedChains = (snat: boolean): readonly string[] => [...(snat ? [MARK, MASQUERADE] : []), DNAT];

/** Names of at most 28 bytes, which every iptables takes. */
export function chainsOf({ network, id }: Pick<PodRules, 'network' | 'id'>): {
  masquerade: string;
  ports: string;
} {
  const hash = createHash('sha512').update(`${network}${id}`).digest('hex');
  return { masquerade: `CNI-${hash.slice(0, 24)}`, ports: `CNI-DN-${hash.slice(0, 21)}` };
}

/** Whether the pod has any rules. */
export const hasRules = ({ masquerade, ports }: PodRules): boolean => masquerade || ports.length > 0;

/** Whether the pod may have left any. */
export const mayHaveRules = (pod: PodRules): boolean => hasRules(pod) || (pod.publishes && !pod.address);

/** The rules of a pod with masquerade alone; undefined for one with other rules, or whose address is not known. */
export function masqueradeOf(pod: PodRules): Masquerade | undefined {
  const { family, address, masquerade, ports } = pod;
  if (!masquerade || ports.length > 0 || !address) return undefined;
  const { ip, prefixLength } = address;
  return { family, chain: chainsOf(pod).masquerade, text: label(pod), address: ip, prefixLength };
}

/** The rules, where the shared ones exist: it fails as a whole where one is missing. */
export const addition = (pod: PodRules): string =>
  batch([
    ...declarations(pod),
    ...(pod.ports.length > 0 ? sharedRules(pod.snat).map(({ chain, match }) => `-C ${chain} ${match}`) : []),
    ...rules(pod),
  ]);

/** The rules with those shared ones that are missing; their chains are there. */
export const additionWith = (pod: PodRules, missing: readonly SharedRule[]): string =>
  batch([
    ...declarations(pod),
    ...missing.map(({ chain, match, first }) => (first ? `-I ${chain} 1 ${match}` : `-A ${chain} ${match}`)),
    ...rules(pod),
  ]);

/** Removes all that `addition` makes; it fails as a whole where a part is missing. */
export const removal = (pod: PodRules): string =>
  batch([
    ...declarations(pod), // which empties the chains
    ...jumps(pod).map((jump) => `-D ${jump}`),
    ...ownChains(pod).map((chain) => `-X ${chain}`),
  ]);

/** Removes what a listing (`iptables -S`) has of the pod; undefined where it has nothing. */
export function removalOf(listing: string, pod: Pick<PodRules, 'network' | 'id'>): string | undefined {
  const lines = listing.split('\n');
  const { masquerade, ports } = chainsOf(pod);
  const present = [masquerade, ports].filter((chain) => lines.includes(`-N ${chain}`));
  if (present.length === 0) return undefined;
  const leading = lines.filter((line) => present.some((chain) => line.endsWith(` -j ${chain}`)));
  return batch([
    ...present.map(declaration),
    ...leading.map((line) => line.replace(/^-A /, '-D ')),
    ...present.map((chain) => `-X ${chain}`),
  ]);
}

const batch = (lines: readonly string[]): string => `*nat\n${lines.join('\n')}\nCOMMIT\n`;
const declaration = (chain: string): string => `:${chain} - [0:0]`;
const declarations = (pod: PodRules): string[] => ownChains(pod).map(declaration);

function ownChains(pod: PodRules): string[] {
  const { masquerade, ports } = chainsOf(pod);
  return [...(pod.masquerade ? [masquerade] : []), ...(pod.ports.length > 0 ? [ports] : [])];
}

/** The content of the pod's own chains, and the jumps there; no rule twice. */
function rules(pod: PodRules): string[] {
  const all = [...masqueradeRules(pod), ...pod.ports.flatMap((port) => portRules(pod, port)), ...jumps(pod)];
  return [...new Set(all)].map((rule) => `-A ${rule}`);
}

/** Traffic of the pod to other networks than its own gets the node's address. */
function masqueradeRules(pod: PodRules): string[] {
  if (!pod.masquerade) return [];
  const { masquerade: chain } = chainsOf(pod);
  const multicast = pod.family === 4 ? '224.0.0.0/4' : 'ff00::/8';
  return [
    `${chain} -d ${ownNetwork(pod)} ${comment(pod)} -j ACCEPT`,
    `${chain} ! -d ${multicast} ${comment(pod)} -j MASQUERADE`,
  ];
}

/** A port that is published on an address of the other family has no rules in this one. */
function portRules(pod: PodRules, { hostPort, containerPort, protocol, hostIP }: PublishedPort): string[] {
  const on = hostIP === undefined ? undefined : parseIp(hostIP);
  if (on && on.family !== pod.family) return [];
  const { ports: chain } = chainsOf(pod);
  const ip = pod.address?.ip ?? '';
  const to = on && on.value !== 0n ? ` -d ${formatIp(on)}` : '';
  const match = `${chain} -p ${protocol} --dport ${hostPort}${to}`;
  const target = pod.family === 4 ? `${ip}:${containerPort}` : `[${ip}]:${containerPort}`;
  const marked = pod.snat ? [ownNetwork(pod), ...(pod.family === 4 ? ['127.0.0.1'] : [])] : [];
  return [
    ...marked.map((source) => `${match} -s ${source} -j ${MARK}`),
    `${match} -j DNAT --to-destination ${target}`,
  ];
}

/** From the node's chains into the pod's own. */
function jumps(pod: PodRules): string[] {
  const { masquerade, ports } = chainsOf(pod);
  const leaving = `POSTROUTING -s ${pod.address?.ip} ${comment(pod)} -j ${masquerade}`;
  const arriving = portLists(pod.ports).map(
    ({ protocol, list }) =>
      `${DNAT} ${comment(pod, 'dnat ')} -m multiport -p ${protocol} --destination-ports ${list} -j ${ports}`,
  );
  return [...(pod.masquerade ? [leaving] : []), ...arriving];
}

/** By protocol in the order of their names, at most fifteen ports a rule, repeats included. */
function portLists(ports: readonly PublishedPort[]): { protocol: string; list: string }[] {
  return ['sctp', 'tcp', 'udp'].flatMap((protocol) => {
    const numbers = ports.filter((port) => port.protocol === protocol).map(({ hostPort }) => hostPort);
    const lists = Array.from({ length: Math.ceil(numbers.length / MULTIPORT) }, (_, n) =>
      numbers.slice(n * MULTIPORT, (n + 1) * MULTIPORT),
    );
    return lists.map((list) => ({ protocol, list: list.join(',') }));
  });
}

const ownNetwork = ({ address }: PodRules): string => `${address?.ip}/${address?.prefixLength}`;

const label = ({ network, id }: PodRules): string => `name: "${network}" id: "${id}"`;

/** Names are of `[A-Za-z0-9_.-]` (conflist.ts) and ids of hexadecimal digits: nothing in them ends the quotes. */
const comment = (pod: PodRules, prefix = ''): string =>
  `-m comment --comment "${(prefix + label(pod)).replaceAll('"', '\\"')}"`;
