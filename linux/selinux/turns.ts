/**
 * When walks run: few at one time, and never long ones alone, so that the walk of a volume with few files does not wait for
 * those with millions. Which are long, time tells: nothing knows how large a tree is before it is walked.
 */
import { CrispError } from '#core/errors.ts';
import { joined, throwIfAborted } from '../libc/abort.ts';

/** A file system that does not answer holds one for as long. */
const MOST = 4;
/** The others are for walks that have just begun. */
const MOST_LONG = MOST - 1;
/** A walk that was asked to end does so between two entries. Another makes way where it has not by then: a file system may hold it. */
const SLOW_MS = 100;
/** One that has not ended so long after that is stuck, and has no place any more. */
const STUCK_MS = 10_000;
/** Those beyond keep their places: each holds a thread. */
const MOST_STUCK = 4;
/** A walk that takes longer is a long one. Some ten thousand entries whose inodes are in memory. */
const LONG_MS = 1000;

export const STUCK_HINT = `see the kernel log, and /proc/${process.pid}/task/*/stack, for the file systems of these volumes (a file server that does not answer); a call that never returns ends with a reboot of the node`;

interface Turn {
  readonly what: string;
  /** Aborted where the walk is to end early: by its caller, or to make way. */
  readonly end: AbortController;
  readonly begun: PromiseWithResolvers<void>;
  /** It has made way before. */
  readonly isResumed: boolean;
  isLong: boolean;
  /** How far it is since it was asked to end. */
  ending: 'not asked' | 'asked' | 'slow' | 'stuck';
  /** When it was asked to end, by performance.now(). */
  askedAt: number;
  timer: NodeJS.Timeout | undefined;
  endTimer: NodeJS.Timeout | undefined;
}

export class Turns {
  readonly #longMs: number;
  readonly #waiting = new Set<Turn>();
  /** The longest first. */
  readonly #running = new Set<Turn>();
  /** Those that a file system holds, without a place. */
  readonly #stuck = new Set<Turn>();

  constructor(longMs = LONG_MS) {
    this.#longMs = longMs;
  }

  /**
   * Runs a walk in its turn. A walk whose signal is aborted ends early, with undefined: the caller's abort, which this throws, or
   * to make way for one that has not begun yet. It is then called a second time, and not disturbed again. Throws Unavailable
   * where file systems hold so many walks that none can begin.
   */
  async run<T>(
    what: string,
    signal: AbortSignal,
    walk: (end: AbortSignal) => Promise<T | undefined>,
  ): Promise<T> {
    for (let isResumed = false; ; isResumed = true) {
      throwIfAborted(signal, what);
      this.#refuseStuck(what);
      const turn: Turn = {
        what,
        end: new AbortController(),
        begun: Promise.withResolvers(),
        isResumed,
        isLong: isResumed,
        ending: 'not asked',
        askedAt: 0,
        timer: undefined,
        endTimer: undefined,
      };
      const onAbort = () => this.#ask(turn);
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
    if (long.some(({ ending }) => ending === 'asked')) return;
    // The newest, which has the least to do again. One at least has not made way yet: no more than MOST_LONG are resumed.
    const newest = long.findLast(({ isResumed, ending }) => !isResumed && ending === 'not asked');
    if (newest) this.#ask(newest);
  }

  /** Asks a walk to end, which a system call may keep it from. */
  #ask(turn: Turn): void {
    if (turn.ending === 'not asked') {
      turn.ending = 'asked';
      turn.askedAt = performance.now();
      turn.endTimer = setTimeout(() => {
        turn.ending = 'slow';
        turn.endTimer = setTimeout(() => this.#abandon(turn), STUCK_MS - SLOW_MS).unref();
        this.#next();
      }, SLOW_MS).unref();
    }
    turn.end.abort();
  }

  /** Others have its place. Where too many are stuck it keeps that until one of them ends. */
  #abandon(turn: Turn): void {
    turn.ending = 'stuck';
    if (this.#stuck.size === MOST_STUCK) return;
    this.#running.delete(turn);
    this.#stuck.add(turn);
    this.#next();
  }

  #allStuck(): Turn[] {
    return [...this.#stuck, ...[...this.#running].filter(({ ending }) => ending === 'stuck')];
  }

  /** What does not end, with the seconds since it was asked to. Undefined where all do. */
  get stuck(): string | undefined {
    const now = performance.now();
    const found = this.#allStuck().map(
      ({ what, askedAt }) => `"${what}" (${Math.round((now - askedAt) / 1000)} s)`,
    );
    return found.length === 0 ? undefined : found.join(', ');
  }

  #refuseStuck(what: string): void {
    if (this.#allStuck().length < MOST_STUCK + MOST) return;
    throw new CrispError(
      'Unavailable',
      `${what}: no thread for it: the kernel does not return from ${this.stuck}`,
      {
        hint: STUCK_HINT,
      },
    );
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
    clearTimeout(turn.endTimer);
    for (const turns of [this.#waiting, this.#running, this.#stuck]) turns.delete(turn);
    // The place that it leaves among those is for one that keeps another's.
    const next = [...this.#running].find(({ ending }) => ending === 'stuck');
    if (next) this.#abandon(next);
    this.#next();
  }

  #long(): Turn[] {
    return [...this.#running].filter(({ isLong }) => isLong);
  }
}
