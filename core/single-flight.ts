import { CrispError } from './errors.ts';

/**
 * Retries join: of all calls with one key only the first runs, the others wait for its result, its error included.
 * The entry is removed before the result is delivered, so it cannot outlive its owner.
 */
export class SingleFlight<K, V> {
  readonly #running = new Map<K, Promise<V>>();

  /** The result of the running call with this key, or of `start()` where none runs. */
  run(key: K, start: () => Promise<V>): Promise<V> {
    const running = this.#running.get(key);
    if (running) return running;
    const promise = start().finally(() => this.#running.delete(key));
    this.#running.set(key, promise);
    return promise;
  }

  /** The running call, if any. */
  get(key: K): Promise<V> | undefined {
    return this.#running.get(key);
  }

  get size(): number {
    return this.#running.size;
  }
}

interface Shared<V> {
  readonly controller: AbortController;
  readonly promise: Promise<V>;
  waiters: number;
}

/**
 * The same for work that can be aborted: it belongs to none of its waiters. Each waits with a signal of its own, and when
 * the last one has left the work is aborted; a caller after that waits until it has ended, and starts anew.
 */
export class SharedFlight<K, V> {
  readonly #running = new Map<K, Shared<V>>();

  /** Rejects with the signal's reason at its abort. `start` gets the signal of the work itself. */
  async run(key: K, signal: AbortSignal, start: (signal: AbortSignal) => Promise<V>): Promise<V> {
    const left = Promise.withResolvers<never>();
    left.promise.catch(() => {});
    const leave = () => left.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      for (;;) {
        signal.throwIfAborted();
        const work = this.#running.get(key) ?? this.#start(key, start);
        if (!work.controller.signal.aborted) return await this.#join(work, left.promise);
        await Promise.race([work.promise.catch(() => {}), left.promise]);
      }
    } finally {
      signal.removeEventListener('abort', leave);
    }
  }

  /** Settles when no work runs that runs now. Never rejects. */
  async settled(): Promise<void> {
    await Promise.allSettled([...this.#running.values()].map(({ promise }) => promise));
  }

  async #join(work: Shared<V>, left: Promise<never>): Promise<V> {
    work.waiters++;
    try {
      return await Promise.race([work.promise, left]);
    } finally {
      work.waiters--;
      // Without effect where the work is done.
      if (work.waiters === 0) work.controller.abort(new CrispError('Cancelled', 'all callers have given up'));
    }
  }

  #start(key: K, start: (signal: AbortSignal) => Promise<V>): Shared<V> {
    const controller = new AbortController();
    const promise = start(controller.signal).finally(() => this.#running.delete(key));
    promise.catch(() => {}); // delivered to the waiters, if any are left
    const work = { controller, promise, waiters: 0 };
    this.#running.set(key, work);
    return work;
  }
}

/**
 * One after another per key: state changes of one object never overlap, different objects never wait for each other.
 * Reads do not pass here.
 */
export class KeyedQueue<K> {
  readonly #tails = new Map<K, Promise<unknown>>();

  /** Runs `act` when all that was enqueued before under this key has settled. */
  run<V>(key: K, act: () => Promise<V>): Promise<V> {
    const before = this.#tails.get(key) ?? Promise.resolve();
    const result = before.then(act, act);
    const tail = result
      .catch(() => {})
      .finally(() => {
        if (this.#tails.get(key) === tail) this.#tails.delete(key);
      });
    this.#tails.set(key, tail);
    return result;
  }
}

/** The result of work that is shared, so that the abort of one wait does not end it. Throws the signal's reason. */
export async function unlessAborted<T>(work: Promise<T>, signal: AbortSignal): Promise<T> {
  const left = Promise.withResolvers<never>();
  const leave = () => left.reject(signal.reason);
  if (signal.aborted) leave();
  signal.addEventListener('abort', leave, { once: true });
  try {
    return await Promise.race([left.promise, work]);
  } finally {
    signal.removeEventListener('abort', leave);
  }
}
