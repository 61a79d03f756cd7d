/** A growing counter, such as CPU time, as a mean rate between two looks. */

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

  /** Two looks nearer than `leastMs` count as one: their difference would be mostly noise. */
  constructor(leastMs = 1000) {
    this.#least = BigInt(leastMs) * 1_000_000n;
  }

  /**
   * Notes the counter as it stands at a time (nanoseconds of a clock that never steps) and gives its rate a second since the look before; undefined
   * at the first look, and after a counter that went back.
   */
  look(key: K, count: bigint, at: bigint): bigint | undefined {
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
