/** For how long the event loop has been held up lately. A stuck loop cannot say so itself: the watchdog and clients see that. */

/** How often it is looked at, and how long a delay counts, in ms: it is the worst of the last one or two of these. */
const LOOK_MS = 1000;
const WINDOW_MS = 10_000;

export interface LoopClock {
  now(): number;
  /** As setInterval. */
  every(ms: number, act: () => void): NodeJS.Timeout;
}

const realClock: LoopClock = {
  now: () => performance.now(),
  every: (ms, act) => setInterval(act, ms).unref(),
};

export class LoopDelay implements Disposable {
  readonly #clock: LoopClock;
  readonly #timer: NodeJS.Timeout;
  #last: number;
  #windowBegan: number;
  #worst = 0;
  #worstBefore = 0;

  constructor(clock: LoopClock = realClock) {
    this.#clock = clock;
    this.#last = clock.now();
    this.#windowBegan = this.#last;
    this.#timer = clock.every(LOOK_MS, () => this.#look());
  }

  /** In ms; what a turn that has not ended yet has taken counts, too. */
  get worstMs(): number {
    return Math.max(this.#worst, this.#worstBefore, this.#delay());
  }

  #look(): void {
    const now = this.#clock.now();
    this.#worst = Math.max(this.#worst, this.#delay());
    this.#last = now;
    if (now - this.#windowBegan < WINDOW_MS) return;
    this.#windowBegan = now;
    this.#worstBefore = this.#worst;
    this.#worst = 0;
  }

  /** How late the next look is. */
  #delay(): number {
    return Math.max(0, this.#clock.now() - this.#last - LOOK_MS);
  }

  [Symbol.dispose](): void {
    clearInterval(this.#timer);
  }
}
