/** The rules of pods written into nf_tables without a program. */
import { isDeepStrictEqual } from 'node:util';
import { errnoOf } from '#core/errors.ts';
import { abandoned, throwIfAborted } from '../libc/abort.ts';
import { kill } from '../libc/libc.ts';
import { AsyncNetlink } from '../net/async-netlink.ts';
import type { NetlinkRequest } from '../net/netlink.ts';
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
import type { Masquerade, NatRules, PodChain } from '../ports/kernel.ts';
import type { ProcessWatches } from '../process/child.ts';
import { RealNatTables, WITHOUT_NF_TABLES } from './nat-tables.ts';
import { NftSocket } from './nft-socket.ts';
import type { NamespaceSpawnRequest } from './spawn-in-namespace.ts';
import type { NamespaceWorker } from './thread.ts';

const SIGKILL = 9;
export class RealNatRules implements NatRules, Disposable {
  readonly #thread: NamespaceWorker;
  readonly #watches: ProcessWatches;
  readonly #socket = new NftSocket();
  readonly tables = new RealNatTables(this.#socket);

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
    return this.#socket.use((netlink) => add(netlink, rules));
  }

  async remove(rules: PodChain): Promise<boolean> {
    try {
      return await this.#socket.use((netlink) => remove(netlink, rules));
    } catch (error) {
      if (WITHOUT_NF_TABLES.includes(errnoOf(error))) return false;
      throw error;
    }
  }

  [Symbol.dispose](): void {
    this.#socket[Symbol.dispose]();
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

async function remove(netlink: AsyncNetlink, { family, chain, from }: PodChain): Promise<boolean> {
  const rules = await netlink.dump(`list the jumps to ${chain}`, GET_RULE, ofBaseChain(family, from));
  const jumps = rules.map(({ body }) => jumpTo(chain, body)).filter((handle) => handle !== undefined);
  return succeeds(netlink, `remove chain ${chain}`, removal({ family, chain }, jumps, from));
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
