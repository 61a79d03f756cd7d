/** By what the rules of a pod are found in the tables of nft-pod-tables.ts: by their comments, as the plugins do it. */
import { createHash } from 'node:crypto';
import type { PodKey, PodNat, RuleOwner } from '../ports/nat-tables.ts';
import { attribute, type NetlinkRequest, parseAttributes, textAttribute, textOf } from './netlink.ts';
import { bodyOf, DELETE_RULE, FAMILY, HEADER, RULE, requestTo, type Table } from './nft-messages.ts';
import { textsOf } from './nft-native-expressions.ts';

export const hostPortTable = (family: 4 | 6): Table => ({ family: FAMILY[family], name: 'cni_hostport' });
export const MASQUERADE_TABLE: Table = { family: FAMILY.inet, name: 'cni_plugins_masquerade' };
export const TABLES: readonly Table[] = [hostPortTable(4), hostPortTable(6), MASQUERADE_TABLE];

/** libnftnl's number of a comment. */
export const COMMENT = 0;
/** A number that libnftnl does not use; it and nft pass over such. */
export const OWNER = 0x63;
/** What knftables allows. */
const MAX_COMMENT = 128;
const HASH_DIGITS = 16;

const hash = (text: string): string => createHash('sha512').update(text).digest('hex').slice(0, HASH_DIGITS);
/** As the plugin bridge identifies an attachment. */
const instanceOf = ({ network, id, interfaceName }: PodKey): string =>
  `${hash(network)}-${hash(`${interfaceName}:${id}`)}`;
/** Of a rule that masquerades. Names have no quotes (conflist.ts). */
export const commentOf = (pod: PodKey): string =>
  `${instanceOf(pod)}, net: ${pod.network}, if: ${pod.interfaceName}, id: ${pod.id}`.slice(0, MAX_COMMENT);

/** Whose rule it is, as crisp notes it beside the comment; a network's name has no spaces. */
export const ownerOf = ({ family, network }: Pick<PodNat, 'family' | 'network'>): string =>
  `crisp ${family} ${network}`;
const networkOf = (owner: string): string => owner.split(' ')[2] ?? '';

/** A rule of a dump that has a comment. */
export interface FoundRule {
  readonly table: Table;
  readonly comment: string;
  /** See `ownerOf`; empty in a rule of others. */
  readonly owner: string;
  readonly removal: NetlinkRequest;
}

/** For a dump of all rules of the table. */
export const rulesOf = (table: Table): Buffer => bodyOf(table, []);

/** undefined for the rules that all pods share. */
export function foundRule(table: Table, rule: Buffer): FoundRule | undefined {
  const found = parseAttributes(rule, HEADER);
  const texts = textsOf(found.get(RULE.userdata));
  const [comment, handle] = [texts.get(COMMENT), found.get(RULE.handle)];
  if (comment === undefined || !handle || textOf(found.get(RULE.table)) !== table.name) return undefined;
  const removal = requestTo(table, DELETE_RULE, 0, [
    textAttribute(RULE.chain, textOf(found.get(RULE.chain))),
    attribute(RULE.handle, handle),
  ]);
  return { table, comment, owner: texts.get(OWNER) ?? '', removal };
}

/** Whether the rule is one of the pod's in this network. Host ports of the plugins do not tell their network. */
export function isOf({ table, comment, owner }: FoundRule, pod: PodKey): boolean {
  if (owner !== '' && networkOf(owner) !== pod.network) return false;
  return isMasquerade(table) ? comment.startsWith(instanceOf(pod)) : comment === pod.id;
}

const MASQUERADE_COMMENT = /, net: ([^ ,]+), if: [^ ,]+, id: ([0-9a-f]{64})$/;

/** Of one pod's rule; undefined where its comment does not tell. */
export function ruleOwnerOf({ table, comment, owner }: FoundRule): RuleOwner | undefined {
  if (!isMasquerade(table))
    return owner !== '' && /^[0-9a-f]{64}$/.test(comment)
      ? { network: networkOf(owner), id: comment }
      : undefined;
  const [, network, id] = MASQUERADE_COMMENT.exec(comment) ?? [];
  return network !== undefined && id !== undefined ? { network, id } : undefined;
}

const isMasquerade = ({ name }: Table): boolean => name === MASQUERADE_TABLE.name;
