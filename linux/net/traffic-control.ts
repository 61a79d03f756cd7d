/**
 * Queueing disciplines that limit the bandwidth of a pod, by rtnetlink (tc(8)), with the numbers of the CNI plugin
 * `bandwidth` 1.1.1, so that the result is the same. Calls are synchronous and mean the network namespace of the thread that
 * made the socket.
 */
import { readFileSync } from 'node:fs';
import { namingSync } from '../libc/errno.ts';
import type { RateLimit } from '../ports/kernel.ts';
import {
  attribute,
  Netlink,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_EXCL,
  nested,
  textAttribute,
  word,
} from './netlink.ts';

const RTM_NEWQDISC = 36;
const RTM_NEWTFILTER = 44;
const TCA = { kind: 1, options: 2 };
const ROOT = 0xffffffff;
const INGRESS = 0xfffffff1;
/** Handles: major and minor number, 16 bits each. */
const FIRST = 0x10000;
const OF_INGRESS = 0xffff0000;
const TBF = { parameters: 1, rate64: 4 };
const U32 = { classId: 1, selector: 5, actions: 7 };
const ACTION = { kind: 1, options: 2 };
const MIRRED_PARAMETERS = 2;
const ETH_P_ALL = 3;
const EGRESS_REDIRECT = 1;
/** What becomes of a packet after an action: TC_ACT_STOLEN, TC_ACT_OK. */
const VERDICTS = [4, 0];
/** How long a packet may wait in the queue, microseconds. */
const LATENCY = 25_000;
const MICROSECONDS = 1e6;

export class TrafficSocket implements Disposable {
  readonly #netlink = new Netlink();

  /** Limits what leaves by a link. */
  limit(index: number, limit: RateLimit): void {
    const { rate, queue, buffer } = tokenBucket(limit, ticksPerMicrosecond());
    const parameters = Buffer.alloc(36); // struct tc_tbf_qopt
    parameters.writeUInt32LE(Number(BigInt.asUintN(32, BigInt(rate))), 8);
    parameters.writeUInt32LE(queue, 24);
    parameters.writeUInt32LE(buffer, 28);
    const rate64 = Buffer.alloc(8);
    rate64.writeBigUInt64LE(BigInt(rate));
    const options = [
      attribute(TBF.parameters, parameters),
      ...(rate >= 2 ** 32 ? [attribute(TBF.rate64, rate64)] : []),
    ];
    this.#add(`limit link ${index}`, RTM_NEWQDISC, message(index, FIRST, ROOT, 0), 'tbf', options);
  }

  /** Everything that arrives by a link leaves by another one. */
  redirect(index: number, to: number): void {
    const what = `redirect link ${index} to ${to}`;
    this.#add(what, RTM_NEWQDISC, message(index, OF_INGRESS, INGRESS, 0), 'ingress', []);
    const all = Buffer.alloc(32); // struct tc_u32_sel: one key that every packet has
    all.set([1, 0, 1]);
    // The plugin has two actions; the first takes every packet.
    const actions = VERDICTS.map((verdict, n) => {
      const parameters = Buffer.alloc(28); // struct tc_mirred
      parameters.writeInt32LE(verdict, 8);
      parameters.writeInt32LE(EGRESS_REDIRECT, 20);
      parameters.writeUInt32LE(to, 24);
      const options = nested(ACTION.options, attribute(MIRRED_PARAMETERS, parameters));
      return nested(n + 1, textAttribute(ACTION.kind, 'mirred'), options);
    });
    const options = [
      attribute(U32.selector, all),
      word(U32.classId, FIRST + 1),
      nested(U32.actions, ...actions),
    ];
    // Priority 1, and the protocol in network order.
    const filter = message(index, 0, OF_INGRESS, 0x10000 + (ETH_P_ALL << 8));
    this.#add(what, RTM_NEWTFILTER, filter, 'u32', options);
  }

  #add(what: string, type: number, head: Buffer, kind: string, options: readonly Buffer[]): void {
    const body = Buffer.concat([head, textAttribute(TCA.kind, kind), nested(TCA.options, ...options)]);
    this.#netlink.request(what, type, NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL, body);
  }

  [Symbol.dispose](): void {
    this.#netlink[Symbol.dispose]();
  }
}

/** Bytes a second, bytes of the queue, and the bucket's size in ticks. Each number of 32 bits wraps, as the plugin's do. */
export function tokenBucket(
  { rate: bits, burst }: RateLimit,
  ticks: number,
): { readonly rate: number; readonly queue: number; readonly buffer: number } {
  const rate = Math.floor(bits / 8);
  const bytes = unsigned(burst / 8);
  return {
    rate,
    queue: unsigned(unsigned((rate * LATENCY) / MICROSECONDS) + bytes),
    buffer: unsigned(unsigned((bytes * MICROSECONDS) / rate) * ticks),
  };
}

const unsigned = (value: number): number => Number(BigInt.asUintN(32, BigInt(Math.floor(value))));

/** Of the clock of queueing disciplines. */
function ticksPerMicrosecond(): number {
  const file = '/proc/net/psched';
  const text = namingSync(`read ${file}`, () => readFileSync(file, 'utf8'));
  const [numerator = 1, denominator = 1, clock = MICROSECONDS] = text
    .split(' ')
    .map((part) => Number.parseInt(part, 16));
  const first = clock === 1e9 ? denominator : numerator;
  return (first / denominator) * (clock / MICROSECONDS);
}

/** struct tcmsg. */
function message(index: number, handle: number, parent: number, info: number): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.writeInt32LE(index, 4);
  bytes.writeUInt32LE(handle, 8);
  bytes.writeUInt32LE(parent, 12);
  bytes.writeUInt32LE(info, 16);
  return bytes;
}
