/**
 * Retries join: of all calls with one key only the first runs, the others wait for its outcome, its error included.
 * The entry is gone before the outcome is delivered, so it cannot outlive its owner.
 */
export class SingleFlight<K, V> {
  readonly #running = new Map<K, Promise<V>>();

  /** The outcome of the running call with this key, or of `start()` where none runs. */
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
