/**
 * The packet filter's rules of pods. With iptables on the node: where a pod has only masquerade rules, and a probe has shown
 * that the node's iptables writes the same, they are written to the kernel directly; else, and wherever the kernel refuses,
 * iptables does it. Without: crisp writes them to tables of nf_tables, as the CNI plugins do there.
 */
import { CrispError, errnoOf } from '#core/errors.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { combinedError } from '../cni/failed-add.ts';
import { Iptables, lacksKernelPart } from './iptables.ts';
import { IptablesProbe } from './iptables-probe.ts';
import {
  chainsOf,
  DNAT,
  hasRules,
  masqueradeOf,
  mayHaveRules,
  type PodRules,
  type RuleBackend,
} from './nat-rules.ts';

export class PacketFilter {
  readonly #nat: Kernel['nat'];
  readonly #iptables: Iptables;
  readonly #probe: IptablesProbe;
  /** The changes of each family: a check and the change that follows from it are not interleaved. */
  readonly #changes = new KeyedQueue<4 | 6>();

  constructor(
    { nat, processes }: Pick<Kernel, 'processes' | 'nat'>,
    environment: Readonly<Record<string, string>>,
  ) {
    this.#nat = nat;
    this.#iptables = new Iptables(processes, environment);
    this.#probe = new IptablesProbe(nat, this.#iptables);
  }

  /** Throws NetworkFailed or FailedPrecondition where the node lacks what would write the rules. Changes nothing. */
  async check(pods: readonly PodRules[]): Promise<void> {
    for (const pod of pods.filter(hasRules)) {
      const { iptables, nftables } = byBackend(pod, await this.#available(pod));
      if (hasRules(iptables)) await this.#iptables.restoring(pod.family);
      const { family, masquerade, ports } = nftables;
      if (hasRules(nftables)) await this.#nat.tables.check({ family, masquerade, ports: ports.length > 0 });
    }
  }

  /** Resolves to what has written the rules. */
  async add(pod: PodRules, signal: AbortSignal): Promise<readonly RuleBackend[]> {
    if (!hasRules(pod)) return [];
    return this.#changes.run(pod.family, async () => {
      signal.throwIfAborted();
      const available = await this.#available(pod);
      try {
        return await this.#write(byBackend(pod, available), signal);
      } catch (error) {
        if (available === 'nftables' || !lacksKernelPart(error)) throw error;
        return this.#writeWithout(pod, error, signal);
      }
    });
  }

  /**
   * Missing rules are success. Looks for them with both, for iptables may have come or gone since ADD. `recorded`: what has
   * written them; the failure of another is passed to `onTolerated`. undefined: not known.
   */
  async remove(
    pod: PodRules,
    recorded: readonly RuleBackend[] | undefined,
    signal: AbortSignal,
    onTolerated: (error: unknown) => void,
  ): Promise<void> {
    if (!mayHaveRules(pod)) return;
    await this.#changes.run(pod.family, async () => {
      const errors: unknown[] = [];
      const attempt = async (backend: RuleBackend, act: () => Promise<unknown>) => {
        signal.throwIfAborted();
        try {
          await act();
        } catch (error) {
          if (recorded?.includes(backend) ?? true) errors.push(error);
          else onTolerated(error);
        }
      };
      await attempt('nftables', () => this.#nat.tables.erase(pod));
      await attempt('iptables', async () => {
        const done = await this.#eraseIptables(pod, signal);
        if (!done && recorded?.includes('iptables')) onTolerated(iptablesGone(pod));
      });
      if (errors.length > 0) throw combinedError(errors);
    });
  }

  /** Resolves when no probe of iptables is running. */
  waitForProbes(): Promise<void> {
    return this.#probe.waitForAll();
  }

  async #available({ family }: PodRules): Promise<RuleBackend> {
    return (await this.#iptables.isThere(family)) ? 'iptables' : 'nftables';
  }

  async #write(
    { iptables, nftables }: Readonly<Record<RuleBackend, PodRules>>,
    signal: AbortSignal,
  ): Promise<RuleBackend[]> {
    if (hasRules(nftables)) await this.#writeTables(nftables);
    if (hasRules(iptables)) {
      const plain = this.#probe.matches(iptables) && masqueradeOf(iptables);
      if (!plain || !(await this.#nat.add(plain))) await this.#iptables.write(iptables, signal);
      void this.#probe.start(iptables);
    }
    return [
      ...(hasRules(nftables) ? (['nftables'] as const) : []),
      ...(hasRules(iptables) ? (['iptables'] as const) : []),
    ];
  }

  /** For an iptables whose part of the kernel is missing: its own error where the kernel lacks nf_tables as well. */
  async #writeWithout(pod: PodRules, error: unknown, signal: AbortSignal): Promise<readonly RuleBackend[]> {
    const { family, masquerade, ports } = pod;
    await this.#nat.tables.check({ family, masquerade, ports: ports.length > 0 }).catch(() => {
      throw error;
    });
    const parts = byBackend(pod, 'nftables');
    if (hasRules(parts.iptables)) throw error;
    return this.#write(parts, signal);
  }

  async #writeTables(pod: PodRules): Promise<void> {
    const { ip: address, prefixLength } = pod.address ?? { ip: '', prefixLength: 0 };
    try {
      await this.#nat.tables.write({ ...pod, address, prefixLength });
    } catch (error) {
      if (errnoOf(error) === undefined) throw error;
      throw new CrispError('NetworkFailed', `nf_tables has refused the IPv${pod.family} rules`, {
        cause: error,
        hint: 'see `nft list ruleset`: another program may own a table, or have a chain, of these names',
      });
    }
  }

  /** false: the program is gone, and the tables that it shares with nf_tables had nothing of the pod. */
  async #eraseIptables(pod: PodRules, signal: AbortSignal): Promise<boolean> {
    const { family } = pod;
    if (await this.#iptables.isThere(family)) {
      const plain = this.#probe.matches(pod) && masqueradeOf(pod);
      if (!plain || !(await this.#nat.remove(plain)))
        await this.#iptables.erase(pod, signal).catch((error: unknown) => {
          if (!lacksKernelPart(error)) throw error; // a table that the kernel does not have has no rules
        });
      void this.#probe.start(pod);
      return true;
    }
    const { masquerade, ports } = chainsOf(pod);
    const removed = [
      await this.#nat.remove({ family, chain: masquerade }),
      await this.#nat.remove({ family, chain: ports, from: DNAT }),
    ];
    return removed.includes(true);
  }
}

/** The parts of the rules by what writes them. */
function byBackend(pod: PodRules, available: RuleBackend): Record<RuleBackend, PodRules> {
  const { masquerade = available, ports = available } = pod.backends;
  const only = (backend: RuleBackend): PodRules => ({
    ...pod,
    masquerade: pod.masquerade && masquerade === backend,
    ports: ports === backend ? pod.ports : [],
  });
  return { iptables: only('iptables'), nftables: only('nftables') };
}

const iptablesGone = ({ family, network }: PodRules): CrispError =>
  new CrispError(
    'NetworkFailed',
    `iptables has written the IPv${family} rules of network ${network}, and is gone: what the legacy one has written stays`,
    { hint: 'install iptables again: the next GC removes them' },
  );
