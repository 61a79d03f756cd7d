/** What has been measured of one plugin's calls. */

/** Of each kind of call the durations of the last ones, for the median. */
const KEPT = 64;
const MAX_MESSAGE = 500;

export interface CallStats {
  readonly call: string;
  readonly count: number;
  readonly failed: number;
  /** Of the last 64, in milliseconds. */
  readonly medianMs: number;
  /** Of all. */
  readonly maxMs: number;
  readonly lastMs: number;
}

export interface LastError {
  /** Milliseconds since the epoch. */
  readonly at: number;
  readonly message: string;
}

interface Counted {
  count: number;
  failed: number;
  maxMs: number;
  lastMs: number;
  readonly recent: number[];
}

export class PluginStats {
  readonly #calls = new Map<string, Counted>();
  #lastError: LastError | undefined;

  /** A call has ended, well or not. */
  called(call: string, ms: number, failed: boolean): void {
    let counted = this.#calls.get(call);
    if (!counted) {
      counted = { count: 0, failed: 0, maxMs: 0, lastMs: 0, recent: [] };
      this.#calls.set(call, counted);
    }
    counted.recent[counted.count % KEPT] = ms;
    counted.count++;
    if (failed) counted.failed++;
    counted.maxMs = Math.max(counted.maxMs, ms);
    counted.lastMs = ms;
  }

  failed(message: string): void {
    this.#lastError = { at: Date.now(), message: message.slice(0, MAX_MESSAGE).toWellFormed() };
  }

  get lastError(): LastError | undefined {
    return this.#lastError;
  }

  get calls(): readonly CallStats[] {
    return [...this.#calls].map(([call, { count, failed, maxMs, lastMs, recent }]) => ({
      call,
      count,
      failed,
      maxMs,
      lastMs,
      medianMs: recent.toSorted((one, other) => one - other)[recent.length >> 1] ?? 0,
    }));
  }
}
