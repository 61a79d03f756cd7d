/** The rules of pods written into nf_tables without a program. */
import { isDeepStrictEqual } from 'node:util';
import { CrispError, errnoOf } from '#core/errors.ts';
import { abandoned, throwIfAborted, within } from '../libc/abort.ts';
import { kill } from '../libc/libc.ts';
import { AsyncNetlink } from '../net/async-netlink.ts';
import { NETLINK_NETFILTER, type NetlinkRequest, openNetlink } from '../net/netlink.ts';
import {
  addition,
  chainOf,
  contentOfChain,
  contentOfRule,
  GET_CHAIN,
  GET_RULE,
  jumpTo,
  ofBaseChain,
  ofTable,
  removal,
} from '../net/nft-masquerade.ts';
import type { Masquerade, NatRules } from '../ports/kernel.ts';
import type { ProcessWatches } from '../process/child.ts';
import type { NamespaceSpawnRequest } from './spawn-in-namespace.ts';
import type { NamespaceWorker } from './thread.ts';

const SIGKILL = 9;
/** Changes of the packet filter take milliseconds; past this many the kernel is stuck, and with it a thread of the pool. */
const LIMIT_MS = 30_000;
const STUCK_HINT = 'see the kernel log, and which other programs change the packet filter of this node';

export class RealNatRules implements NatRules, Disposable {
  readonly #thread: NamespaceWorker;
  readonly #watches: ProcessWatches;
  /** In the node's own namespace, as the main thread. */
  #netlink: AsyncNetlink | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  /** Whether a change has not returned since its deadline: it keeps its socket, and no other is tried beside it. */
  #stuck = false;

  constructor(thread: NamespaceWorker, watches: ProcessWatches) {
    this.#thread = thread;
    this.#watches = watches;
  }

  async matchesIptables(
    iptables: NamespaceSpawnRequest,
    rules: Masquerade,
    signal: AbortSignal,
  ): Promise<boolean> {
    throwIfAborted(signal, 'try iptables');
    const { pid, socket } = await this.#thread.request({ act: 'spawn in namespace', request: iptables });
    using netlink = new AsyncNetlink(socket);
    if (!(await this.#succeeds(pid, signal))) return false;
    const theirs = await contentOf(netlink, rules.family);
    if (!(await remove(netlink, rules))) return false;
    if ((await contentOf(netlink, rules.family)).rules !== '') return false;
    if (!(await add(netlink, rules))) return false;
    return isDeepStrictEqual(await contentOf(netlink, rules.family), theirs);
  }

  add(rules: Masquerade): Promise<boolean> {
    return this.#onNode((netlink) => add(netlink, rules));
  }

  remove(rules: Pick<Masquerade, 'family' | 'chain'>): Promise<boolean> {
    return this.#onNode((netlink) => remove(netlink, rules));
  }

  /** One after another, on one lasting socket: to close one after a deletion takes longer than all the rest. */
  #onNode<T>(act: (netlink: AsyncNetlink) => Promise<T>): Promise<T> {
    const turn = this.#tail.then(async () => {
      if (this.#stuck) {
        throw new CrispError(
          'Unavailable',
          'nf_tables: the kernel has still not returned from an earlier change',
          {
            hint: STUCK_HINT,
          },
        );
      }
      const netlink = this.#netlink ?? new AsyncNetlink(openNetlink(NETLINK_NETFILTER));
      this.#netlink = netlink;
      const running = act(netlink);
      try {
        return await within(LIMIT_MS, running, () => {
          this.#stuck = true;
          return new CrispError(
            'DeadlineExceeded',
            `nf_tables: the kernel has not returned after ${LIMIT_MS / 1000} s`,
            {
              hint: STUCK_HINT,
            },
          );
        });
      } catch (error) {
        this.#giveUp(netlink, running);
        throw error;
      }
    });
    this.#tail = turn.catch(() => {});
    return turn;
  }

  /** A socket is closed only when nothing uses it any more: its number could be reused. */
  #giveUp(netlink: AsyncNetlink, running: Promise<unknown>): void {
    this.#netlink = undefined;
    void running
      .catch(() => {})
      .finally(() => {
        this.#stuck = false;
        netlink[Symbol.dispose]();
      });
  }

  [Symbol.dispose](): void {
    this.#netlink?.[Symbol.dispose]();
    this.#netlink = undefined;
  }

  async #succeeds(pid: number, signal: AbortSignal): Promise<boolean> {
    const { exited } = this.#watches.adopt(pid, false);
    const end = () => void kill(-pid, SIGKILL); // not reaped yet, so its process group id is not reused
    signal.addEventListener('abort', end, { once: true });
    if (signal.aborted) end();
    const { code } = await exited;
    signal.removeEventListener('abort', end);
    if (signal.aborted) throw abandoned('try iptables', signal);
    return code === 0;
  }
}

const add = (netlink: AsyncNetlink, rules: Masquerade): Promise<boolean> =>
  succeeds(netlink, `masquerade by chain ${rules.chain}`, addition(rules));

async function remove(
  netlink: AsyncNetlink,
  { family, chain }: Pick<Masquerade, 'family' | 'chain'>,
): Promise<boolean> {
  const rules = await netlink.dump('list the rules of POSTROUTING', GET_RULE, ofBaseChain(family));
  const jumps = rules.map(({ body }) => jumpTo(chain, body)).filter((handle) => handle !== undefined);
  return succeeds(netlink, `remove chain ${chain}`, removal({ family, chain }, jumps));
}

/** false where the kernel refuses: it has changed nothing then. */
async function succeeds(
  netlink: AsyncNetlink,
  what: string,
  requests: readonly NetlinkRequest[],
): Promise<boolean> {
  try {
    await netlink.send(what, requests);
    return true;
  } catch (error) {
    if (errnoOf(error) === undefined) throw error;
    return false;
  }
}

/** The rules, in their order within each chain, and the chains, in any. */
async function contentOf(
  netlink: AsyncNetlink,
  family: 4 | 6,
): Promise<{ readonly rules: string; readonly chains: string }> {
  const rules = await netlink.dump('list the rules of nat', GET_RULE, ofTable(family));
  const chains = await netlink.dump('list the chains of nat', GET_CHAIN, ofTable(family));
  const perChain = Object.values(Object.groupBy(rules, ({ body }) => chainOf(body)));
  const lists = perChain.map((list = []) => list.map(({ body }) => contentOfRule(body)).join('\n'));
  const names = chains.map(({ body }) => contentOfChain(body));
  return { rules: lists.sort().join('\n'), chains: names.sort().join('\n') };
}
