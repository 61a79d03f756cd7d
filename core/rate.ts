/** A growing counter, such as CPU time, as a mean rate between two samples. */

interface Sample {
  readonly count: bigint;
  readonly at: bigint;
  /** Of the span before it; undefined for the first. */
  readonly rate: bigint | undefined;
}

const SECOND = 1_000_000_000n;

export class Rates<K> {
  readonly #samples = new Map<K, Sample>();
  readonly #least: bigint;

  /** Two samples nearer than `leastMs` count as one: their difference would be mostly noise. */
  constructor(leastMs = 1000) {
    this.#least = BigInt(leastMs) * 1_000_000n;
  }

  /**
   * Records the counter at a time (nanoseconds of a monotonic clock) and returns its rate per second since the previous
   * sample; undefined at the first one, and after a counter that went back.
   */
  sample(key: K, count: bigint, at: bigint): bigint | undefined {
    const before = this.#samples.get(key);
    if (before && at - before.at < this.#least && count >= before.count) return before.rate;
    const isOn = before !== undefined && count >= before.count && at > before.at;
    const rate = isOn ? ((count - before.count) * SECOND) / (at - before.at) : undefined;
    this.#samples.set(key, { count, at, rate });
    return rate;
  }

  forget(key: K): void {
    this.#samples.delete(key);
  }
}
