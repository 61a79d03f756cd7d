/** Long enough that the changes of one start are one write. */
const DELAY_MS = 250;
/** A refused write is retried after this. */
const RETRY_MS = 10_000;
/** Each write waits for the disk in a thread of the pool, which has eight for two stores and all else. */
const AT_ONCE = 2;

export interface WriteBehindOptions {
  /** Writes the key's newest text; one call per key at a time. */
  readonly write: (key: string) => Promise<void>;
  /** Called with what `write` throws; it is retried later. */
  readonly onError: (key: string, error: unknown) => void;
}

/** Writes keys in the background after a short delay, few at a time. */
export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #timers = new Map<string, NodeJS.Timeout>();
  /** In the order in which they became due. */
  readonly #due = new Set<string>();
  readonly #running = new Map<string, Promise<void>>();

  constructor(options: WriteBehindOptions) {
    this.#options = options;
  }

  later(key: string, delay = DELAY_MS): void {
    if (this.#timers.has(key) || this.#due.has(key)) return;
    const onTimer = () => {
      this.#timers.delete(key);
      this.#due.add(key);
      this.#work();
    };
    this.#timers.set(key, setTimeout(onTimer, delay).unref());
  }

  /** Schedules a retry. */
  retryLater(key: string): void {
    this.later(key, RETRY_MS);
  }

  /** Nothing is left to be written for this key. */
  forget(key: string): void {
    clearTimeout(this.#timers.get(key));
    this.#timers.delete(key);
    this.#due.delete(key);
  }

  /** Writes now all that waits; what is refused is passed to `onError` and stays pending. */
  async flush(): Promise<void> {
    for (const [key, timer] of this.#timers) {
      clearTimeout(timer);
      this.#due.add(key);
    }
    this.#timers.clear();
    this.#work();
    while (this.#running.size > 0) await Promise.race(this.#running.values());
  }

  #work(): void {
    for (const key of this.#due) {
      if (this.#running.size >= AT_ONCE) return;
      if (this.#running.has(key)) continue;
      this.#due.delete(key);
      this.#running.set(key, this.#write(key));
    }
  }

  async #write(key: string): Promise<void> {
    try {
      await this.#options.write(key);
    } catch (error) {
      this.#options.onError(key, error);
      this.retryLater(key);
    } finally {
      this.#running.delete(key);
      this.#work();
    }
  }
}
