/**
 * The GC of a network runs while no ADD or DEL in it does (CNI specification, GC). ADDs and DELs do not wait for each other, and
 * those that begin while a GC waits go first: where plugins hang, no pod waits for a GC that waits for them.
 */
import type { Operation } from '#core/operation.ts';

/** How long an ADD or DEL waits for a GC, in milliseconds: longer than that has (collect-networks.ts, and a killed plugin). */
const WAIT_MS = 60_000;

export class NetworkGate {
  /** ADDs and DELs that run, by the name of the network. */
  readonly #users = new Map<string, number>();
  readonly #collecting = new Map<string, Promise<unknown>>();
  /** GCs that wait until the last ADD or DEL has ended. */
  readonly #waiting = new Map<string, () => void>();

  /** An ADD or DEL. Throws DeadlineExceeded where a GC does not end. */
  async shared<T>(network: string, op: Operation, act: () => Promise<T>): Promise<T> {
    for (let running = this.#collecting.get(network); running; running = this.#collecting.get(network)) {
      const ended = running;
      await op.deadline('end of CNI GC', WAIT_MS, async () => void (await ended));
    }
    this.#users.set(network, (this.#users.get(network) ?? 0) + 1);
    try {
      return await act();
    } finally {
      const left = (this.#users.get(network) ?? 1) - 1;
      if (left > 0) this.#users.set(network, left);
      else {
        this.#users.delete(network);
        this.#waiting.get(network)?.();
      }
    }
  }

  /** A GC, one at a time for a network. Throws DeadlineExceeded where an ADD or DEL runs at any time within the limit (ms). */
  async exclusive<T>(network: string, op: Operation, limit: number, act: () => Promise<T>): Promise<T> {
    let begun: Promise<T> | undefined;
    const begin = () => {
      begun = act();
      const ended = begun
        .catch(() => {})
        .then(() => {
          this.#collecting.delete(network);
        });
      this.#collecting.set(network, ended);
    };
    await op.deadline('pause between ADD and DEL', limit, (signal) => this.#idle(network, signal, begin));
    return begun as unknown as Promise<T>;
  }

  /** Calls back in the very turn in which the last one ends. */
  async #idle(network: string, signal: AbortSignal, begin: () => void): Promise<void> {
    if (!this.#users.has(network)) return begin();
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#waiting.set(network, () => {
      this.#waiting.delete(network);
      begin();
      resolve();
    });
    signal.addEventListener('abort', () => this.#waiting.delete(network), { once: true });
    await promise;
  }
}
