import { setTimeout as sleep } from 'node:timers/promises';
import { KeyedQueue, unlessAborted } from '#core/single-flight.ts';

export interface Creations {
  /** The containers whose CreateContainer runs. */
  creating(): readonly string[];
  /** Returns what ends it. */
  onCreated(listener: () => void): () => void;
}

/**
 * A plugin that is being synchronised sees each container either in the list or by its creation, never both or neither: meanwhile no
 * creation asks plugins, and a synchronisation waits for those that have. Both waits are bounded; past their limit a
 * container may be missed, which is better than a pod that hangs.
 */
export class SyncGate {
  readonly #creations: Creations;
  readonly #queue = new KeyedQueue<'sync'>();
  /** What creations wait for, with the time (of the monotonic clock) until they do at most. */
  readonly #holds = new Map<Promise<void>, number>();
  /** Creations that wait here: plugins have not been asked for them. */
  readonly #waiting = new Set<string>();
  readonly #changed = new Set<() => void>();

  constructor(creations: Creations) {
    this.#creations = creations;
  }

  /** Whether creations are to call `enter`. */
  get isHeld(): boolean {
    return this.#holds.size > 0;
  }

  /** Creations wait for it, until `limitMs` have passed. */
  hold(work: Promise<void>, limitMs: number): void {
    const settled = work.catch(() => {});
    this.#holds.set(settled, performance.now() + limitMs);
    void settled.then(() => this.#holds.delete(settled));
  }

  /** Waits for what is held now. Throws the signal's reason. */
  async enter(id: string, signal: AbortSignal): Promise<void> {
    if (!this.isHeld) return;
    this.#waiting.add(id);
    for (const listener of this.#changed) listener();
    try {
      for (const [work, until] of [...this.#holds]) {
        const left = until - performance.now();
        if (left <= 0) continue;
        const timer = new AbortController();
        const limit = sleep(left, undefined, { signal: timer.signal, ref: false }).catch(() => {});
        await unlessAborted(Promise.race([work, limit]), signal).finally(() => timer.abort());
      }
    } finally {
      this.#waiting.delete(id);
    }
  }

  /** One at a time: `act` runs when no creation is under way that has asked plugins, or after `limitMs`. */
  synchronize(limitMs: number, act: () => Promise<void>): Promise<void> {
    return this.#queue.run('sync', async () => {
      const done = Promise.withResolvers<void>();
      this.hold(done.promise, limitMs);
      try {
        await this.#idle(limitMs);
        await act();
      } finally {
        done.resolve();
      }
    });
  }

  async #idle(limitMs: number): Promise<void> {
    const isIdle = () => this.#creations.creating().every((id) => this.#waiting.has(id));
    if (isIdle()) return;
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = () => {
      if (isIdle()) resolve();
    };
    const end = this.#creations.onCreated(look);
    this.#changed.add(look);
    const timer = setTimeout(resolve, limitMs);
    try {
      await promise;
    } finally {
      clearTimeout(timer);
      this.#changed.delete(look);
      end();
    }
  }
}
