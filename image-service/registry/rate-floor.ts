import { RegistryFailure } from './failure.ts';

export interface RateLimits {
  /** The least that may arrive within `minRateMs` of waiting for the endpoint, in bytes per second; 0: anything. */
  readonly minRate: number;
  readonly minRateMs: number;
}

/** The floor of a transfer's rate: what sends a few bytes each minute would not be noticed by the limit of silence. */
export class RateFloor {
  readonly #what: string;
  readonly #limits: RateLimits;
  #bytes = 0;
  #waited = 0;

  /** `what`: stage, content and endpoint, for the error. */
  constructor(what: string, limits: RateLimits) {
    this.#what = what;
    this.#limits = limits;
  }

  /** Adds a piece and the time that it took, in ms. Throws RegistryFailure at the end of a window with too few bytes. */
  add(bytes: number, ms: number): void {
    const { minRate, minRateMs } = this.#limits;
    this.#bytes += bytes;
    this.#waited += ms;
    if (this.#waited < minRateMs) return;
    const rate = (this.#bytes * 1000) / this.#waited;
    if (rate < minRate) {
      const text = `${this.#what}: ${Math.floor(rate)} bytes per second in ${Math.round(this.#waited / 1000)} s`;
      throw new RegistryFailure('RegistryUnavailable', text, {
        hint: 'check the network to the registry; image.pull_min_rate is the least that is waited for',
        transient: true,
      });
    }
    this.#bytes = 0;
    this.#waited = 0;
  }
}
