/**
 * The rules by which what leaves a pod gets the node's address, as messages of nf_tables:
 *
 *     -A CHAIN -d IP/LENGTH -m comment --comment TEXT -j ACCEPT
 *     -A CHAIN ! -d MULTICAST -m comment --comment TEXT -j MASQUERADE
 *     -A POSTROUTING -s IP -m comment --comment TEXT -j CHAIN
 */

import type { Masquerade } from '../ports/kernel.ts';
import { type IpAddress, parseIp, widthOf } from './ip-address.ts';
import {
  attribute,
  attributesOf,
  type NetlinkRequest,
  NLM_F_APPEND,
  NLM_F_CREATE,
  NLM_F_EXCL,
  nested,
  parseAttributes,
  textAttribute,
  textOf,
} from './netlink.ts';
import {
  ACCEPT,
  comment,
  counter,
  JUMP,
  jumpOf,
  masquerade,
  matchAddress,
  verdict,
} from './nft-expressions.ts';
import {
  batch,
  bodyOf,
  CHAIN,
  DELETE_CHAIN,
  DELETE_RULE,
  FAMILY,
  HEADER,
  NEW_CHAIN,
  NEW_RULE,
  RULE,
  requestTo,
} from './nft-messages.ts';

export { GET_CHAIN, GET_RULE } from './nft-messages.ts';

const TABLE = 'nat';
const BASE_CHAIN = 'POSTROUTING';
const MULTICAST: Readonly<Record<4 | 6, { ip: IpAddress; prefixLength: number }>> = {
  4: { ip: { family: 4, value: 0xe0n << 24n }, prefixLength: 4 },
  6: { ip: { family: 6, value: 0xffn << 120n }, prefixLength: 8 },
};

type Chain = Pick<Masquerade, 'family' | 'chain'>;

/** In one change of the tables, all or nothing. Refused where the chain is there already, or the node's are not. */
export function addition({ family, chain, address, prefixLength, text }: Masquerade): NetlinkRequest[] {
  const pod = parseIp(address) ?? { family, value: 0n };
  const beyond = MULTICAST[family];
  const noted = [comment(text), counter()];
  const create = NLM_F_CREATE | NLM_F_EXCL;
  const rule = (where: string, ...expressions: readonly Buffer[]) => {
    const parts = [textAttribute(RULE.chain, where), nested(RULE.expressions, ...expressions)];
    return request(family, NEW_RULE, NLM_F_CREATE | NLM_F_APPEND, parts);
  };
  return batch([
    request(family, NEW_CHAIN, create, [textAttribute(CHAIN.name, chain)]),
    rule(chain, ...matchAddress('destination', pod, prefixLength), ...noted, verdict(ACCEPT)),
    rule(
      chain,
      ...matchAddress('destination', beyond.ip, beyond.prefixLength, true),
      ...noted,
      masquerade(family),
    ),
    rule(BASE_CHAIN, ...matchAddress('source', pod, widthOf(family)), ...noted, verdict(JUMP, chain)),
  ]);
}

/** The same for the end, with the jumps to the chain by their handles. Refused where the chain is not there. */
export function removal(
  { family, chain }: Chain,
  jumps: readonly Buffer[],
  base = BASE_CHAIN,
): NetlinkRequest[] {
  const from = textAttribute(RULE.chain, base);
  const remove = (type: number, ...parts: readonly Buffer[]) => request(family, type, 0, parts);
  return batch([
    ...jumps.map((handle) => remove(DELETE_RULE, from, attribute(RULE.handle, handle))),
    remove(DELETE_RULE, textAttribute(RULE.chain, chain)), // all of them
    remove(DELETE_CHAIN, textAttribute(CHAIN.name, chain)),
  ]);
}

/** Of a dump of all rules, or all chains, of the table. */
export const ofTable = (family: 4 | 6): Buffer => body(family, []);
/** For a dump of the rules that include the jumps to pods' chains. */
export const ofBaseChain = (family: 4 | 6, base = BASE_CHAIN): Buffer =>
  body(family, [textAttribute(RULE.chain, base)]);

/** The handle of a dumped rule that jumps to the chain; undefined for others. */
export function jumpTo(chain: string, rule: Buffer): Buffer | undefined {
  const found = parseAttributes(rule, HEADER);
  const elements = [...attributesOf(found.get(RULE.expressions) ?? Buffer.alloc(0))];
  return elements.some(([, element]) => jumpOf(element) === chain) ? found.get(RULE.handle) : undefined;
}

/** The chain of a dumped rule. */
export const chainOf = (rule: Buffer): string => textOf(parseAttributes(rule, HEADER).get(RULE.chain));

/** All attributes of a dumped rule but its handles. */
export const contentOfRule = (rule: Buffer): string => content(rule, [RULE.handle, RULE.position]);
/** All attributes of a dumped chain but its handle. */
export const contentOfChain = (chain: Buffer): string => content(chain, [CHAIN.handle]);

function content(object: Buffer, numbers: readonly number[]): string {
  const kept = [...attributesOf(object, HEADER)].filter(([type]) => !numbers.includes(type));
  return kept.map(([type, value]) => `${type} ${value.toString('hex')}`).join('\n');
}

const natOf = (family: 4 | 6) => ({ family: FAMILY[family], name: TABLE });

const body = (family: 4 | 6, parts: readonly Buffer[]): Buffer => bodyOf(natOf(family), parts);

const request = (family: 4 | 6, type: number, flags: number, parts: readonly Buffer[]): NetlinkRequest =>
  requestTo(natOf(family), type, flags, parts);
