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

/** The bytes that the kernel keeps with a rule (NFT_USERDATA_MAXLEN), each text with its type, its length and a zero. */
const MAX_USER_DATA = 256;
const TEXT_FRAME = 3;

/**
 * Of a rule that masquerades: with the id, which is cut off the comment where the network's name has more than eight characters.
 * Without where it does not fit, with a name of more than 49; the comment is the plugins' own, who compare all of it.
 */
export function ownerOfMasquerade(pod: PodNat): string {
  const owner = `${ownerOf(pod)} ${pod.id}`;
  const isShort = commentOf(pod).length + owner.length + 2 * TEXT_FRAME <= MAX_USER_DATA;
  return isShort ? owner : ownerOf(pod);
}

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

/** Whether crisp has written it for this family of the pod. */
export const isOwn = (rule: FoundRule, pod: PodNat): boolean =>
  isOf(rule, pod) && rule.owner.split(' ', 3).join(' ') === ownerOf(pod);

const ID = /^[0-9a-f]{64}$/;
const MASQUERADE_COMMENT = /, net: ([^ ,]+), if: ([^ ,]+), id: ([0-9a-f]*)$/;

/** Of one pod's rule; undefined where neither its comment nor crisp's note tells. */
export function ruleOwnerOf({ table, comment, owner }: FoundRule): RuleOwner | undefined {
  const [, , noted = '', notedId = ''] = owner.split(' ');
  const [, network = noted, interfaceName, commented = ''] =
    (isMasquerade(table) && MASQUERADE_COMMENT.exec(comment)) || [];
  const id = [isMasquerade(table) ? notedId : comment, commented].find((one) => ID.test(one));
  if (network === '' || id === undefined) return undefined;
  return { network, id, ...(interfaceName === undefined ? {} : { interfaceName }) };
}

const isMasquerade = ({ name }: Table): boolean => name === MASQUERADE_TABLE.name;
