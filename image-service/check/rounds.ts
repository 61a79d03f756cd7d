import { createHash } from 'node:crypto';
import { describeError } from '#core/errors.ts';
import { type Log, Operation } from '#core/operation.ts';
import type { ImageChecks } from './check.ts';
import { bytesToRead, type CheckedObject, checkedObjects } from './objects.ts';

/** The most that the background check reads, in bytes per second. */
const RATE = 32 << 20;
/** How long after an object has come due the next look is, in ms. */
const TICK_MS = 60_000;

/** The place of an object in each interval, from 0 to 1, by its name: that spreads them, and needs no record. */
export function placeOf(name: string): number {
  return createHash('sha256').update(name).digest().readUInt32BE(0) / 2 ** 32;
}

/** Those whose place in the interval is after `from` and not after `to`, in that order. Times are ms since the epoch. */
export function dueBetween<T extends { readonly name: string }>(
  objects: readonly T[],
  interval: number,
  from: number,
  to: number,
): T[] {
  const lastPlace = (name: string): number => {
    const place = placeOf(name) * interval;
    return Math.floor((to - place) / interval) * interval + place;
  };
  return objects
    .map((object) => ({ object, at: lastPlace(object.name) }))
    .filter(({ at }) => at > from)
    .sort((a, b) => a.at - b.at)
    .map(({ object }) => object);
}

/**
 * Verifies each layer image and blob once in an interval, in the background, one at a time. When an object is due depends
 * on the clock and its name alone: a restart neither begins a round anew nor checks anything twice, and what comes due
 * while the daemon does not run waits for the next round.
 */
export class CheckRounds implements AsyncDisposable {
  readonly #checks: ImageChecks;
  readonly #interval: number;
  readonly #log: Log;
  readonly #closing = new AbortController();
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> = Promise.resolve();
  #until = Date.now();

  /** `interval` in ms; 0: never. */
  constructor(checks: ImageChecks, interval: number, log: Log) {
    this.#checks = checks;
    this.#interval = interval;
    this.#log = log;
  }

  /** Begins; for when the stores are loaded. */
  start(): void {
    if (this.#interval === 0 || this.#closing.signal.aborted) return;
    this.#until = Date.now();
    this.#schedule();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    this.#closing.abort();
    await this.#running;
  }

  #schedule(): void {
    // In a short interval, objects come due more often.
    const wait = Math.min(TICK_MS, Math.max(100, this.#interval / 10));
    this.#timer = setTimeout(() => {
      this.#running = this.#pass().then(() => {
        if (!this.#closing.signal.aborted) this.#schedule();
      });
    }, wait).unref();
  }

  async #pass(): Promise<void> {
    // After a leap of the clock, or a pass that took longer than the interval, no object is due twice.
    const now = Date.now();
    const from = Math.min(Math.max(this.#until, now - this.#interval), now);
    this.#until = now;
    const read = (object: CheckedObject): boolean => object.kind !== 'image' && bytesToRead(object) > 0;
    const due = dueBetween(checkedObjects(this.#checks.stores).filter(read), this.#interval, from, now);
    for (const object of due) {
      if (this.#closing.signal.aborted) return;
      const op = new Operation('VerifyImages', { log: this.#log, signal: this.#closing.signal });
      try {
        await this.#checks.inBackground(object, RATE, op);
      } catch (error) {
        if (!this.#closing.signal.aborted)
          op.log.warn({ error: describeError(error) }, 'the background check of images failed; it goes on');
      }
    }
  }
}
