/** Pods' rules in the tables of the CNI plugins' back end nftables. */
import { CrispError, errnoOf } from '#core/errors.ts';
import type { AsyncNetlink } from '../net/async-netlink.ts';
import type { NetlinkRequest } from '../net/netlink.ts';
import { kernelParts } from '../net/nft-kernel-parts.ts';
import {
  batch,
  GET_GENERATION,
  GET_RULE,
  generationOf,
  OF_GENERATION,
  type Table,
  trial,
} from '../net/nft-messages.ts';
import {
  type FoundRule,
  foundRule,
  hostPortTable,
  isOf,
  isOwn,
  MASQUERADE_TABLE,
  ruleOwnerOf,
  rulesOf,
  TABLES,
} from '../net/nft-pod-rules.ts';
import { podRules } from '../net/nft-pod-tables.ts';
import type { NatTables, PodKey, PodNat, RuleOwner } from '../ports/nat-tables.ts';
import type { NftSocket } from './nft-socket.ts';

type Need = Parameters<NatTables['check']>[0];

/** nf_tables, or all of netfilter's netlink, is not there. */
export const WITHOUT_NF_TABLES: readonly (string | undefined)[] = ['EPROTONOSUPPORT', 'EOPNOTSUPP', 'EINVAL'];
/** ERESTART has no name in Node. */
const CHANGED = ['ERESTART', 'E85'];
/** Rules removed in one change: what a message of netlink holds. */
const MAX_REMOVALS = 1_000;
/** A change takes a millisecond: so many are overtaken only by an endless stream of others'. */
const MAX_TRIES = 100;

export class RealNatTables implements NatTables {
  readonly #socket: Pick<NftSocket, 'use'>;
  /** What the kernel has been seen to have. */
  readonly #known = new Set<string>();

  constructor(socket: Pick<NftSocket, 'use'>) {
    this.#socket = socket;
  }

  async check(need: Need): Promise<void> {
    const key = `${need.family} ${need.masquerade} ${need.ports}`;
    if (this.#known.has(key)) return;
    for (const part of kernelParts(need.family, need)) {
      const what = `try ${part.name} in nf_tables`;
      try {
        await this.#socket.use((netlink) => netlink.send(what, trial(part.trial)));
      } catch (error) {
        throw refusedPart(part, need.family, error);
      }
    }
    this.#known.add(key);
  }

  async write(pod: PodNat): Promise<void> {
    const what = `write the IPv${pod.family} rules of pod ${pod.id}`;
    const additions = podRules(pod);
    await this.#change(what, [hostPortTable(pod.family), MASQUERADE_TABLE], (found) => ({
      removals: found.filter((rule) => isOwn(rule, pod)),
      additions,
    }));
  }

  /** Without nf_tables there are none. */
  async erase(pod: PodKey): Promise<boolean> {
    const part = () =>
      this.#change(`remove the rules of pod ${pod.id}`, TABLES, (found) => ({
        removals: found.filter((rule) => isOf(rule, pod)).slice(0, MAX_REMOVALS),
        additions: [],
      }));
    try {
      let removed = 0;
      for (let more = MAX_REMOVALS; more === MAX_REMOVALS; removed += more) more = await part();
      return removed > 0;
    } catch (error) {
      if (WITHOUT_NF_TABLES.includes(errnoOf(error))) return false;
      throw error;
    }
  }

  async owners(networks: readonly string[]): Promise<readonly RuleOwner[]> {
    const what = 'list the owners of rules';
    try {
      const rules = await this.#socket.use((netlink) => rulesIn(netlink, what, TABLES));
      const owners = rules.flatMap((rule) => ruleOwnerOf(rule) ?? []);
      return owners.filter(({ network }) => networks.includes(network));
    } catch (error) {
      if (WITHOUT_NF_TABLES.includes(errnoOf(error))) return [];
      throw error;
    }
  }

  /** Resolves to the number of removals. These are by handle: where anything has changed meanwhile all is planned anew. */
  #change(
    what: string,
    tables: readonly Table[],
    plan: (found: readonly FoundRule[]) => Plan,
  ): Promise<number> {
    return this.#socket.use(async (netlink) => {
      for (let tries = 1; ; tries++) {
        const [answer] = await netlink.get(what, GET_GENERATION, OF_GENERATION);
        const { removals, additions } = plan(await rulesIn(netlink, what, tables));
        const requests = [...removals.map(({ removal }) => removal), ...additions];
        if (requests.length === 0) return 0;
        try {
          await netlink.send(
            what,
            batch(requests, removals.length > 0 ? generationOf(answer?.body) : undefined),
          );
          return removals.length;
        } catch (error) {
          if (!CHANGED.includes(errnoOf(error) ?? '')) throw error;
          if (tries === MAX_TRIES) throw overtaken(what);
        }
      }
    });
  }
}

interface Plan {
  readonly removals: readonly FoundRule[];
  readonly additions: readonly NetlinkRequest[];
}

async function rulesIn(netlink: AsyncNetlink, what: string, tables: readonly Table[]): Promise<FoundRule[]> {
  const found: FoundRule[] = [];
  for (const table of tables) {
    const rules = await netlink.dump(what, GET_RULE, rulesOf(table));
    found.push(...rules.map(({ body }) => foundRule(table, body)).filter((rule) => rule !== undefined));
  }
  return found;
}

const overtaken = (what: string): CrispError =>
  new CrispError('Aborted', `${what}: nf_tables has changed during each of ${MAX_TRIES} attempts`, {
    hint: 'try again; see which program changes the packet filter of this node continuously',
  });

/** Where the kernel refuses for another reason than that it lacks the part, the error is left as it is. */
function refusedPart(
  { name, module }: { readonly name: string; readonly module: string },
  family: 4 | 6,
  error: unknown,
): unknown {
  const errno = errnoOf(error);
  if (errno !== 'ENOENT' && !WITHOUT_NF_TABLES.includes(errno)) return error;
  return new CrispError(
    'FailedPrecondition',
    `the kernel lacks ${name} for IPv${family} (${errno}): masquerading and host ports need it`,
    { hint: `modprobe ${module}, or install iptables`, lasting: true, cause: error },
  );
}
