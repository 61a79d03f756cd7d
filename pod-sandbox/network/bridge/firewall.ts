/**
 * The packet filter's rules of pods. Where a pod has only masquerade rules, and a probe has shown that the node's iptables
 * writes the same, they are written to the kernel directly; else, and wherever the kernel refuses, iptables does it.
 */
import type { Kernel } from '#linux/ports/kernel.ts';
import { Iptables } from './iptables.ts';
import { addition, hasRules, masqueradeOf, type PodRules } from './nat-rules.ts';

/** Milliseconds for a probe of iptables. */
const PROBE_LIMIT = 10_000;

/** Whether iptables writes what crisp would. */
interface Probe {
  readonly outcome: Promise<boolean>;
  matches: boolean;
}

export class PacketFilter {
  readonly #nat: Kernel['nat'];
  readonly #iptables: Iptables;
  /** The last change of each family: a check and the change that follows from it are not interleaved. */
  readonly #tails = new Map<4 | 6, Promise<unknown>>();
  /** By what the form of the rules depends on. */
  readonly #probes = new Map<string, Probe>();

  constructor(
    { nat, processes }: Pick<Kernel, 'processes' | 'nat'>,
    environment: Readonly<Record<string, string>>,
  ) {
    this.#nat = nat;
    this.#iptables = new Iptables(processes, environment);
  }

  async add(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (!hasRules(pod)) return;
    await this.#inTurn(pod, async () => {
      signal.throwIfAborted();
      const plain = this.#matches(pod) && masqueradeOf(pod);
      if (!plain || !(await this.#nat.add(plain))) await this.#iptables.write(pod, signal);
    });
    void this.matchesIptables(pod);
  }

  /** Missing rules are success. */
  async remove(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (!hasRules(pod)) return;
    await this.#inTurn(pod, async () => {
      signal.throwIfAborted();
      const plain = this.#matches(pod) && masqueradeOf(pod);
      if (!plain || !(await this.#nat.remove(plain))) await this.#iptables.erase(pod, signal);
    });
    void this.matchesIptables(pod);
  }

  /**
   * Whether the node's iptables writes such a pod's rules as crisp would: probed once, beside the node's own tables.
   * Never rejects: an iptables that cannot be probed is called for each pod.
   */
  async matchesIptables(pod: PodRules): Promise<boolean> {
    const plain = masqueradeOf(pod);
    if (!plain) return false;
    const form = formOf(pod);
    const known = this.#probes.get(form);
    if (known) return known.outcome;
    const outcome = this.#probe(pod, plain).catch(() => false);
    const probe: Probe = { outcome, matches: false };
    this.#probes.set(form, probe);
    probe.matches = await outcome;
    return outcome;
  }

  /** Resolves when no probe is running. */
  async waitForProbes(): Promise<void> {
    await Promise.all([...this.#probes.values()].map(({ outcome }) => outcome));
  }

  async #probe(pod: PodRules, plain: NonNullable<ReturnType<typeof masqueradeOf>>): Promise<boolean> {
    const argv = await this.#iptables.restoring(pod.family);
    const call = { argv, env: this.#iptables.environment, input: addition(pod) };
    return this.#nat.matchesIptables(call, plain, AbortSignal.timeout(PROBE_LIMIT));
  }

  #matches(pod: PodRules): boolean {
    return this.#probes.get(formOf(pod))?.matches ?? false;
  }

  #inTurn<T>({ family }: PodRules, act: () => Promise<T>): Promise<T> {
    const turn = (this.#tails.get(family) ?? Promise.resolve()).then(act);
    this.#tails.set(
      family,
      turn.catch(() => {}),
    );
    return turn;
  }
}

/** Prefixes of whole bytes are written in another form than others. */
const formOf = ({ family, address }: PodRules): string => `${family}/${address?.prefixLength}`;
