/** Whether the node's iptables writes what crisp would: probed once for each form of rules, beside the node's own tables. */
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Iptables } from './iptables.ts';
import { addition, masqueradeOf, type PodRules } from './nat-rules.ts';

/** Milliseconds for a probe of iptables. */
const PROBE_LIMIT = 10_000;

interface Probe {
  readonly outcome: Promise<boolean>;
  matches: boolean;
}

export class IptablesProbe {
  readonly #nat: Kernel['nat'];
  readonly #iptables: Iptables;
  /** By what the form of the rules depends on. */
  readonly #probes = new Map<string, Probe>();

  constructor(nat: Kernel['nat'], iptables: Iptables) {
    this.#nat = nat;
    this.#iptables = iptables;
  }

  /** As far as it is known by now. */
  matches(pod: PodRules): boolean {
    return this.#probes.get(formOf(pod))?.matches ?? false;
  }

  /** Never rejects: an iptables that cannot be probed is called for each pod. */
  async start(pod: PodRules): Promise<boolean> {
    const plain = masqueradeOf(pod);
    if (!plain) return false;
    const form = formOf(pod);
    const known = this.#probes.get(form);
    if (known) return known.outcome;
    const outcome = this.#run(pod, plain).catch(() => false);
    const probe: Probe = { outcome, matches: false };
    this.#probes.set(form, probe);
    probe.matches = await outcome;
    return outcome;
  }

  /** Resolves when none is running. */
  async waitForAll(): Promise<void> {
    await Promise.all([...this.#probes.values()].map(({ outcome }) => outcome));
  }

  async #run(pod: PodRules, plain: NonNullable<ReturnType<typeof masqueradeOf>>): Promise<boolean> {
    const argv = await this.#iptables.restoring(pod.family);
    const call = { argv, env: this.#iptables.environment, input: addition(pod) };
    return this.#nat.matchesIptables(call, plain, AbortSignal.timeout(PROBE_LIMIT));
  }
}

/** Prefixes of whole bytes are written in another form than others. */
const formOf = ({ family, address }: PodRules): string => `${family}/${address?.prefixLength}`;
