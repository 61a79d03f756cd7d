/** Chances that can be had again: the seed is printed, and $CRISP_SEED sets it. */

/** Of cases that differ only in the place at which a way is cut off, the share that is tried, others with each seed. CRISP_TEST_SHARE=1: all. */
export const SHARE = Number(process.env['CRISP_TEST_SHARE'] ?? 0.25);

/** So many rounds as there are with a share of 1; one at least. */
export const rounds = (all: number): number => Math.max(1, Math.round(all * SHARE));

export class Chances {
  readonly seed: number;
  #state: number;

  constructor() {
    const given = process.env['CRISP_SEED'];
    this.seed = given === undefined ? Date.now() % 2 ** 31 : Number(given);
    this.#state = this.seed;
    console.log(`# seed ${this.seed}; to have the same again: CRISP_SEED=${this.seed}`);
  }

  /** Does what chances have led to; where that fails, the error has the place and the seed. */
  async at<T>(where: string, act: () => Promise<T>): Promise<T> {
    try {
      return await act();
    } catch (thrown) {
      const error = thrown instanceof Error ? thrown : new Error(String(thrown));
      const prefix = `${where} (CRISP_SEED=${this.seed}): `;
      error.message = prefix + error.message;
      error.stack = prefix + error.stack;
      throw error;
    }
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** One at random of each of as many equal parts of the list as the share has of it; one at least, where there are any. */
  sample<T>(all: readonly T[], share = SHARE): T[] {
    const count = Math.min(all.length, Math.max(1, Math.round(all.length * share)));
    const places = Array.from({ length: count }, (_, n) =>
      Math.floor(((n + this.next()) * all.length) / count),
    );
    return all.filter((_, at) => places.includes(at));
  }

  /** An integer from 0 to below the limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }
}
