import { CrispError, errnoOf, hasCode } from '#core/errors.ts';

/** What no other source would change. */
const isFullDisk = (error: unknown): boolean =>
  hasCode(error, 'ResourceExhausted') && errnoOf(error) !== undefined;

/** The calls of one work, as they are now. */
export interface Callers {
  readonly waiting: number;
  /** Those that have left, too. */
  readonly total: number;
}

interface Running<V> {
  readonly controller: AbortController;
  readonly promise: Promise<V>;
  readonly callers: { waiting: number; total: number };
}

type Start<V> = (signal: AbortSignal, callers: Callers) => Promise<V>;

/**
 * Work that several callers wait for and that each of them may abort for itself: each waits with its own signal, and the
 * work is aborted when the last one has left. A later call starts it again.
 */
export class SharedWork<V> {
  readonly #running = new Map<string, Running<V>>();
  readonly #untilEnd: boolean;

  /** `untilEnd`: the last caller to leave waits until the aborted work has ended, so that no file of it remains. */
  constructor(options: { readonly untilEnd?: boolean } = {}) {
    this.#untilEnd = options.untilEnd ?? false;
  }

  /** Whether a call with this key would join. */
  joins(key: string): boolean {
    return this.#running.has(key);
  }

  /** Joins the running work, or starts it. Rejects with the signal's reason at its abort. */
  async run(key: string, signal: AbortSignal, start: Start<V>): Promise<V> {
    signal.throwIfAborted();
    const work = this.#running.get(key) ?? this.#start(key, start);
    work.callers.waiting++;
    work.callers.total++;
    const left = Promise.withResolvers<never>();
    const leave = () => left.reject(signal.reason);
    signal.addEventListener('abort', leave, { once: true });
    try {
      return await Promise.race([work.promise, left.promise]);
    } finally {
      signal.removeEventListener('abort', leave);
      if (--work.callers.waiting === 0) {
        this.#release(key, work);
        if (this.#untilEnd) await work.promise.catch(() => {});
      }
    }
  }

  /**
   * The same for work that has its content of a caller's source. Another one may have it, or accept its caller's credentials,
   * where that of the first fails: a call that had joined then starts or joins anew, and throws what its own start throws.
   */
  async runFromSource(key: string, signal: AbortSignal, start: Start<V>): Promise<V> {
    for (;;) {
      const joined = this.joins(key);
      try {
        return await this.run(key, signal, start);
      } catch (error) {
        if (!joined || signal.aborted || isFullDisk(error)) throw error;
      }
    }
  }

  #start(key: string, start: Start<V>): Running<V> {
    const controller = new AbortController();
    const callers = { waiting: 0, total: 0 };
    const promise = start(controller.signal, callers).finally(() => {
      if (this.#running.get(key)?.controller === controller) this.#running.delete(key);
    });
    promise.catch(() => {}); // reported to the waiters, of which none may be left
    const work = { controller, promise, callers };
    this.#running.set(key, work);
    return work;
  }

  #release(key: string, work: Running<V>): void {
    if (this.#running.get(key) === work) this.#running.delete(key);
    // Without effect if the work is done.
    work.controller.abort(new CrispError('Cancelled', 'all callers have cancelled'));
  }
}
