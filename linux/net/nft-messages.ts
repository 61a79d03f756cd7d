/** Messages to nf_tables: requests, and the batches that the kernel carries out as one change, all or nothing. */
import { attribute, type NetlinkRequest, NLM_F_ACK, parseAttributes, textAttribute } from './netlink.ts';

const SUBSYSTEM = 10;
/** Bytes of struct nfgenmsg, before the attributes. */
export const HEADER = 4;
/** The numbers of the families of tables: of IPv4 and IPv6, and of both. */
export const FAMILY = { 4: 2, 6: 10, inet: 1 } as const;
export const TABLE = { name: 1, userdata: 6 };
export const CHAIN = { table: 1, handle: 2, name: 3, hook: 4, type: 7, userdata: 12 };
export const RULE = { table: 1, chain: 2, handle: 3, expressions: 4, position: 6, userdata: 7 };
const BATCH = { begin: 16, end: 17 };
const BATCH_GENERATION = 1;

const message = (number: number): number => (SUBSYSTEM << 8) | number;
export const NEW_TABLE = message(0);
export const DELETE_TABLE = message(2);
export const NEW_CHAIN = message(3);
export const GET_CHAIN = message(4);
export const DELETE_CHAIN = message(5);
export const NEW_RULE = message(6);
export const GET_RULE = message(7);
export const DELETE_RULE = message(8);
export const GET_GENERATION = message(16);

/** The body of GET_GENERATION. */
export const OF_GENERATION = Buffer.alloc(HEADER);
const GENERATION_ID = 1;

/** The number of the state that nf_tables is in, from an answer to it. */
export const generationOf = (answer: Buffer | undefined): Buffer | undefined =>
  answer && parseAttributes(answer, HEADER).get(GENERATION_ID);

/** A table by its family's number and its name. */
export interface Table {
  readonly family: number;
  readonly name: string;
}

/** The body of a message about a table, or what is in it. */
export const bodyOf = ({ family, name }: Table, parts: readonly Buffer[]): Buffer =>
  Buffer.concat([Buffer.of(family, 0, 0, 0), textAttribute(TABLE.name, name), ...parts]);

export const requestTo = (
  table: Table,
  type: number,
  flags: number,
  parts: readonly Buffer[],
): NetlinkRequest => ({ type, flags: flags | NLM_F_ACK, body: bodyOf(table, parts) });

/**
 * One change. `generation`, from the answer to GET_GENERATION: the kernel refuses (ERESTART) where anything has changed
 * since, by whomever; undefined: in any case.
 */
export function batch(requests: readonly NetlinkRequest[], generation?: Buffer): NetlinkRequest[] {
  const valid = generation ? [attribute(BATCH_GENERATION, generation)] : [];
  return [frame(BATCH.begin, valid), ...acknowledgedOnce(requests), frame(BATCH.end)];
}

/** The same without its end: the kernel carries it out, answers, and takes it back. */
export const trial = (requests: readonly NetlinkRequest[]): NetlinkRequest[] => [
  frame(BATCH.begin),
  ...acknowledgedOnce(requests),
];

/** By the last one alone: more than some hundred acknowledgements do not fit a socket. Refusals come in any case. */
const acknowledgedOnce = (requests: readonly NetlinkRequest[]): NetlinkRequest[] =>
  requests.map((one, at) => (at < requests.length - 1 ? { ...one, flags: one.flags & ~NLM_F_ACK } : one));

function frame(type: number, attributes: readonly Buffer[] = []): NetlinkRequest {
  return { type, flags: 0, body: Buffer.concat([Buffer.of(0, 0, 0, SUBSYSTEM), ...attributes]) };
}
