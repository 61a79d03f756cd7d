import { CrispError } from '#core/errors.ts';

interface Running<V> {
  readonly controller: AbortController;
  readonly promise: Promise<V>;
  waiters: number;
}

/**
 * Work that several callers wait for and that any of them may leave: each waits with a signal of its own, and only
 * when the last one has left is the work itself aborted. Who comes after that starts it anew.
 */
export class SharedWork<V> {
  readonly #running = new Map<string, Running<V>>();

  /** Whether a call with this key would join. */
  joins(key: string): boolean {
    return this.#running.has(key);
  }

  /** Joins the running work, or starts it. Rejects with the signal's reason at its abort. */
  async run(key: string, signal: AbortSignal, start: (signal: AbortSignal) => Promise<V>): Promise<V> {
    signal.throwIfAborted();
    const work = this.#running.get(key) ?? this.#start(key, start);
    work.waiters++;
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([work.promise, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      if (--work.waiters === 0) this.#abandon(key, work);
    }
  }

  #start(key: string, start: (signal: AbortSignal) => Promise<V>): Running<V> {
    const controller = new AbortController();
    const promise = start(controller.signal).finally(() => {
      if (this.#running.get(key)?.controller === controller) this.#running.delete(key);
    });
    promise.catch(() => {}); // told to the waiters, of whom there may be none left
    const work = { controller, promise, waiters: 0 };
    this.#running.set(key, work);
    return work;
  }

  #abandon(key: string, work: Running<V>): void {
    if (this.#running.get(key) === work) this.#running.delete(key);
    // No harm where the work is done.
    work.controller.abort(new CrispError('Cancelled', 'nobody waits for it any more'));
  }
}
