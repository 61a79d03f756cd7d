/** Chances that can be had again: the seed is printed, and $CRISP_SEED sets it. */

export class Chances {
  readonly seed: number;
  #state: number;

  constructor() {
    const given = process.env['CRISP_SEED'];
    this.seed = given === undefined ? Date.now() % 2 ** 31 : Number(given);
    this.#state = this.seed;
    console.log(`# seed ${this.seed}; to have the same again: CRISP_SEED=${this.seed}`);
  }

  /** From 0 to below 1 (mulberry32). */
  next(): number {
    this.#state = (this.#state + 0x6d2b79f5) | 0;
    let bits = Math.imul(this.#state ^ (this.#state >>> 15), 1 | this.#state);
    bits = (bits + Math.imul(bits ^ (bits >>> 7), 61 | bits)) ^ bits;
    return ((bits ^ (bits >>> 14)) >>> 0) / 2 ** 32;
  }

  /** An integer from 0 to below the limit. */
  below(limit: number): number {
    return Math.floor(this.next() * limit);
  }
}
