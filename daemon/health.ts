import { describeError } from '#core/errors.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Trouble } from '#linux/ports/troubles.ts';

/** What is wrong with the node and the daemon: for Status, `crisp ctl info`, /healthz and the metrics. From memory. */
export class Health {
  readonly #parts: Pick<Kernel, 'troubles'>[];
  #recovery: Trouble | undefined;
  #recovered = false;

  constructor(...parts: readonly Pick<Kernel, 'troubles'>[]) {
    this.#parts = [...parts];
  }

  /** One that exists later. */
  add(part: Pick<Kernel, 'troubles'>): void {
    this.#parts.push(part);
  }

  /** Stays until the next start: what is incomplete is tried again then, or by the removal of the object. */
  recoveryFailed(error: unknown): void {
    const hint = 'see the log; correct what it names, then start the daemon again';
    this.#recovery = { reason: 'RecoveryFailed', message: describeError(error), hint, podsFail: false };
  }

  /** What the last daemon left has been finished or undone, as far as it can be. */
  recovered(): void {
    this.#recovered = true;
  }

  /** Why the node should get no pods, yet or any more; undefined where it may. */
  unready(network: { readonly ready: boolean; readonly message: string }): string | undefined {
    if (!this.#recovered) return 'recovery of what the last daemon has left is not finished';
    return this.unable() ?? (network.ready ? undefined : network.message);
  }

  /** The worst first. */
  troubles(): readonly Trouble[] {
    const all = [
      ...this.#parts.flatMap((part) => part.troubles()),
      ...(this.#recovery ? [this.#recovery] : []),
    ];
    return all.sort((one, other) => Number(other.podsFail) - Number(one.podsFail));
  }

  /** Why no pod can be made; undefined where they can. */
  readonly unable = (): string | undefined => {
    const worst = this.troubles().find(({ podsFail }) => podsFail);
    return worst && `${worst.message}; ${worst.hint}`;
  };
}
