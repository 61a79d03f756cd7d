/**
 * The packet filter's rules of pods. Where a pod is but masqueraded, and the node's iptables is seen to write the very
 * same, they are written to the kernel without it; else, and wherever the kernel refuses, iptables does it.
 */
import type { Kernel } from '#linux/ports/kernel.ts';
import { Iptables } from './iptables.ts';
import { addition, hasRules, masqueradeOf, type PodRules } from './masquerade.ts';

/** Milliseconds for a trial of iptables. */
const TRIAL_LIMIT = 10_000;

/** Whether iptables writes what crisp would. */
interface Trial {
  readonly outcome: Promise<boolean>;
  alike: boolean;
}

export class PacketFilter {
  readonly #nat: Kernel['nat'];
  readonly #iptables: Iptables;
  /** The end of the last change of each family: a look and the change that follows from it stay together. */
  readonly #tails = new Map<4 | 6, Promise<unknown>>();
  /** By what the form of the rules depends on. */
  readonly #trials = new Map<string, Trial>();

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
      const plain = this.#isAlike(pod) && masqueradeOf(pod);
      if (!plain || !(await this.#nat.add(plain))) await this.#iptables.write(pod, signal);
    });
    void this.isAlike(pod);
  }

  /** What is gone already is success. */
  async remove(pod: PodRules, signal: AbortSignal): Promise<void> {
    if (!hasRules(pod)) return;
    await this.#inTurn(pod, async () => {
      signal.throwIfAborted();
      const plain = this.#isAlike(pod) && masqueradeOf(pod);
      if (!plain || !(await this.#nat.remove(plain))) await this.#iptables.erase(pod, signal);
    });
    void this.isAlike(pod);
  }

  /**
   * Whether the node's iptables writes such a pod's rules as crisp would: tried once, beside the node's own tables.
   * Never rejects: an iptables that cannot be tried is called for each pod.
   */
  async isAlike(pod: PodRules): Promise<boolean> {
    const plain = masqueradeOf(pod);
    if (!plain) return false;
    const form = formOf(pod);
    const known = this.#trials.get(form);
    if (known) return known.outcome;
    const outcome = this.#try(pod, plain).catch(() => false);
    const trial: Trial = { outcome, alike: false };
    this.#trials.set(form, trial);
    trial.alike = await outcome;
    return outcome;
  }

  /** Resolves when no trial is under way. */
  async settled(): Promise<void> {
    await Promise.all([...this.#trials.values()].map(({ outcome }) => outcome));
  }

  async #try(pod: PodRules, plain: NonNullable<ReturnType<typeof masqueradeOf>>): Promise<boolean> {
    const argv = await this.#iptables.restoring(pod.family);
    const call = { argv, env: this.#iptables.environment, input: addition(pod) };
    return this.#nat.matchesIptables(call, plain, AbortSignal.timeout(TRIAL_LIMIT));
  }

  #isAlike(pod: PodRules): boolean {
    return this.#trials.get(formOf(pod))?.alike ?? false;
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
