/**
 * When walks run: few at one time, and never long ones alone, so that the walk of a volume with few files does not wait for
 * those with millions. Which are long, time tells: nothing knows how large a tree is before it is walked.
 */
import { joined, throwIfAborted } from '../libc/abort.ts';

/** A file system that does not answer holds one for as long. */
const MOST = 4;
/** The others are for walks that have just begun. */
const MOST_LONG = MOST - 1;
/** A walk that takes longer is a long one. Some ten thousand entries whose inodes are in memory. */
const LONG_MS = 1000;

interface Turn {
  /** Aborted where the walk is to end early: by its caller, or to make way. */
  readonly end: AbortController;
  readonly begun: PromiseWithResolvers<void>;
  /** It has made way before. */
  readonly isResumed: boolean;
  isLong: boolean;
  timer: NodeJS.Timeout | undefined;
}

export class Turns {
  readonly #longMs: number;
  readonly #waiting = new Set<Turn>();
  /** The longest first. */
  readonly #running = new Set<Turn>();

  constructor(longMs = LONG_MS) {
    this.#longMs = longMs;
  }

  /**
   * Runs a walk in its turn. A walk whose signal is aborted ends early, with undefined: the caller's abort, which this throws, or
   * to make way for one that has not begun yet. It is then called a second time, and not disturbed again.
   */
  async run<T>(
    what: string,
    signal: AbortSignal,
    walk: (end: AbortSignal) => Promise<T | undefined>,
  ): Promise<T> {
    for (let isResumed = false; ; isResumed = true) {
      throwIfAborted(signal, what);
      const turn: Turn = {
        end: new AbortController(),
        begun: Promise.withResolvers(),
        isResumed,
        isLong: isResumed,
        timer: undefined,
      };
      const onAbort = () => turn.end.abort();
      signal.addEventListener('abort', onAbort, { once: true });
      try {
        this.#waiting.add(turn);
        this.#next();
        await joined(turn.begun.promise, what, signal);
        const outcome = await walk(turn.end.signal);
        if (outcome !== undefined) return outcome;
      } finally {
        signal.removeEventListener('abort', onAbort);
        this.#end(turn);
      }
    }
  }

  #next(): void {
    for (const turn of this.#waiting) {
      if (this.#running.size === MOST) break;
      if (!turn.isLong || this.#long().length < MOST_LONG) this.#begin(turn);
    }
    const long = this.#long();
    if (long.length <= MOST_LONG || [...this.#waiting].every(({ isLong }) => isLong)) return;
    // The newest, which has the least to do again. One at least has not made way yet: no more than MOST_LONG are resumed.
    long.findLast(({ isResumed }) => !isResumed)?.end.abort();
  }

  #begin(turn: Turn): void {
    this.#waiting.delete(turn);
    this.#running.add(turn);
    turn.begun.resolve();
    if (turn.isLong) return;
    turn.timer = setTimeout(() => {
      turn.isLong = true;
      this.#next();
    }, this.#longMs).unref();
  }

  #end(turn: Turn): void {
    clearTimeout(turn.timer);
    this.#waiting.delete(turn);
    this.#running.delete(turn);
    this.#next();
  }

  #long(): Turn[] {
    return [...this.#running].filter(({ isLong }) => isLong);
  }
}
