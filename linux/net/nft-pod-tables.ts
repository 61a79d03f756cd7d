/**
 * Pods' rules in the tables of the CNI plugins' back end nftables (containernetworking/plugins,
 * plugins/meta/portmap/portmap_nftables.go and pkg/ip/ipmasq_nftables_linux.go): the same tables, chains, rules and
 * comments, by which the plugins find and remove them.
 *
 *     table ip cni_hostport                    and ip6
 *         prerouting, output  fib daddr type local jump hostports_all
 *         hostports_all       jump hostip_hostports (of former plugins), jump hostports
 *         hostports           [ip daddr HOSTIP] tcp dport N dnat to POD:PORT          comment ID
 *         masquerading        ip saddr POD|127.0.0.1 ip daddr POD masquerade          comment ID
 *     table inet cni_plugins_masquerade
 *         postrouting         multicast: return; goto masq_checks
 *         masq_checks         ip saddr POD ip daddr != NETWORK masquerade             comment HASHES, net: … id: …
 *
 * Beyond that, so that a pod's neighbours reach its host ports as with iptables, their connections get the mark 0x2000, and
 * what is marked is masqueraded. Each rule of crisp also carries its network, for GC: nft does not show this.
 */
import { CrispError } from '#core/errors.ts';
import type { HostPort, PodNat } from '../ports/nat-tables.ts';
import { type IpAddress, parseIp, widthOf } from './ip-address.ts';
import { type NetlinkRequest, NLM_F_APPEND, NLM_F_CREATE, nested, textAttribute } from './netlink.ts';
import { GOTO, JUMP, matchAddress, number, RETURN, verdict } from './nft-expressions.ts';
import {
  CHAIN,
  DELETE_RULE,
  NEW_CHAIN,
  NEW_RULE,
  NEW_TABLE,
  RULE,
  requestTo,
  TABLE,
  type Table,
} from './nft-messages.ts';
import {
  destinationNat,
  masquerade,
  matchFamily,
  matchLocal,
  matchMark,
  matchPort,
  setMark,
  userData,
} from './nft-native-expressions.ts';
import {
  COMMENT,
  commentOf,
  hostPortTable,
  MASQUERADE_TABLE,
  OWNER,
  ownerOf,
  ownerOfMasquerade,
} from './nft-pod-rules.ts';

/** portmap's bit 13; Kubernetes has 14 and 15. */
const MARK = 0x2000;
const LOOPBACK: IpAddress = { family: 4, value: 0x7f000001n };
const MULTICAST = [
  { ip: { family: 4, value: 0xe0n << 24n }, prefixLength: 4 },
  { ip: { family: 6, value: 0xffn << 120n }, prefixLength: 8 },
] as const;
/** Numbers of the hooks, and the priorities dstnat and srcnat. */
const HOOK = { prerouting: [0, -100], output: [3, -100], postrouting: [4, 100] } as const;

/** The base structure with the pod's own rules, to be sent in one batch. Only those of `masquerade` and `ports`. */
export function podRules(pod: PodNat): NetlinkRequest[] {
  const { family, ports, snat, masquerade: leaving } = pod;
  const own = ports.filter(({ hostIP }) => (parseIp(hostIP ?? '')?.family ?? family) === family);
  const published = own.length > 0 ? [...hostPortBase(family, snat), ...hostPortRules(pod, own)] : [];
  return [...published, ...(leaving ? [...masqueradeBase(), masqueradeRule(pod)] : [])];
}

function hostPortBase(family: 4 | 6, snat: boolean): NetlinkRequest[] {
  const table = hostPortTable(family);
  const local = [...matchLocal(), verdict(JUMP, 'hostports_all')];
  return [
    addTable(table, 'CNI portmap plugin'),
    addChain(table, 'hostports'),
    addChain(table, 'hostip_hostports'),
    addChain(table, 'hostports_all'),
    flush(table, 'hostports_all'),
    addRule(table, 'hostports_all', [verdict(JUMP, 'hostip_hostports')]),
    addRule(table, 'hostports_all', [verdict(JUMP, 'hostports')]),
    ...(['prerouting', 'output'] as const).flatMap((name) => [
      addBaseChain(table, name, name),
      flush(table, name),
      addRule(table, name, local),
    ]),
    ...(snat ? [addBaseChain(table, 'masquerading', 'postrouting')] : []),
  ];
}

function hostPortRules(pod: PodNat, ports: readonly HostPort[]): NetlinkRequest[] {
  const { family, id, prefixLength, snat } = pod;
  const table = hostPortTable(family);
  const ip = requireIp(pod.address);
  const own = widthOf(family);
  const data = userData(RULE.userdata, [COMMENT, id], [OWNER, ownerOf(pod)]);
  const rule = (chain: string, ...expressions: readonly Buffer[]) => addRule(table, chain, expressions, data);
  const forwarding = ports.flatMap(({ hostIP, protocol, hostPort, containerPort }) => {
    const on = hostIP === undefined ? undefined : parseIp(hostIP);
    const to = on && on.value !== 0n ? matchAddress('destination', on, own) : [];
    const arriving = [...to, ...matchPort(protocol, hostPort)];
    const neighbours = matchAddress('source', ip, prefixLength);
    return [
      ...(snat ? [rule('hostports', ...neighbours, ...arriving, ...setMark(MARK))] : []),
      rule('hostports', ...arriving, ...destinationNat(ip, containerPort)),
    ];
  });
  if (!snat) return forwarding;
  const toPod = matchAddress('destination', ip, own);
  const sources = [ip, ...(family === 4 ? [LOOPBACK] : [])];
  return [
    ...forwarding,
    ...sources.map((source) =>
      rule('masquerading', ...matchAddress('source', source, own), ...toPod, masquerade()),
    ),
    rule('masquerading', ...matchMark(MARK), ...toPod, masquerade()),
  ];
}

function masqueradeBase(): NetlinkRequest[] {
  const table = MASQUERADE_TABLE;
  return [
    addTable(table, 'Masquerading for plugins from github.com/containernetworking/plugins'),
    addChain(
      table,
      'masq_checks',
      'Masquerade traffic from certain IPs to any (non-multicast) IP outside their subnet',
    ),
    addBaseChain(table, 'postrouting', 'postrouting'),
    flush(table, 'postrouting'),
    ...MULTICAST.map(({ ip, prefixLength }) =>
      addRule(table, 'postrouting', [
        ...matchFamily(ip.family),
        ...matchAddress('destination', ip, prefixLength),
        verdict(RETURN),
      ]),
    ),
    addRule(table, 'postrouting', [verdict(GOTO, 'masq_checks')]),
  ];
}

function masqueradeRule(pod: PodNat): NetlinkRequest {
  const ip = requireIp(pod.address);
  const data = userData(RULE.userdata, [COMMENT, commentOf(pod)], [OWNER, ownerOfMasquerade(pod)]);
  const expressions = [
    ...matchFamily(pod.family),
    ...matchAddress('source', ip, widthOf(pod.family)),
    ...matchAddress('destination', ip, pod.prefixLength, true),
    masquerade(),
  ];
  return addRule(MASQUERADE_TABLE, 'masq_checks', expressions, data);
}

export const addTable = (table: Table, comment: string): NetlinkRequest =>
  requestTo(table, NEW_TABLE, NLM_F_CREATE, [userData(TABLE.userdata, [COMMENT, comment])]);

const addChain = (table: Table, name: string, comment?: string): NetlinkRequest =>
  requestTo(table, NEW_CHAIN, NLM_F_CREATE, [
    textAttribute(CHAIN.name, name),
    ...(comment === undefined ? [] : [userData(CHAIN.userdata, [COMMENT, comment])]),
  ]);

/** A chain that the kernel calls with the first packet of each connection. */
export function addBaseChain(table: Table, name: string, at: keyof typeof HOOK): NetlinkRequest {
  const [hook, priority] = HOOK[at];
  return requestTo(table, NEW_CHAIN, NLM_F_CREATE, [
    textAttribute(CHAIN.name, name),
    nested(CHAIN.hook, number(1, hook), number(2, priority)),
    textAttribute(CHAIN.type, 'nat'),
  ]);
}

const flush = (table: Table, chain: string): NetlinkRequest =>
  requestTo(table, DELETE_RULE, 0, [textAttribute(RULE.chain, chain)]);

export function addRule(
  table: Table,
  chain: string,
  expressions: readonly Buffer[],
  data?: Buffer,
): NetlinkRequest {
  const parts = [textAttribute(RULE.chain, chain), nested(RULE.expressions, ...expressions)];
  return requestTo(table, NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, data ? [...parts, data] : parts);
}

function requireIp(text: string): IpAddress {
  const ip = parseIp(text);
  if (ip) return ip;
  throw new CrispError('InvalidArgument', `${JSON.stringify(text)} is not an IP address`);
}
