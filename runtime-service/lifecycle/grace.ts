export const MAX_GRACE_MS = 2 ** 31 - 1;

/** The time between the stop signal and the kill, which a later stop of the same container may shorten. */
export class Grace implements Disposable {
  /** The grace of the first stop; 0 sends no signal. In milliseconds, at most MAX_GRACE_MS. */
  readonly ms: number;
  /** Resolves when the kill is due. */
  readonly over: Promise<void>;
  readonly #resolve: () => void;
  /** In milliseconds of the monotonic clock. */
  #due: number;
  #timer: NodeJS.Timeout | undefined;

  constructor(ms: number) {
    this.ms = ms;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.over = promise;
    this.#resolve = resolve;
    this.#due = performance.now() + ms;
    this.#arm(ms);
  }

  /** Brings the kill forward to `ms` from now; a later time changes nothing. */
  shorten(ms: number): void {
    const due = performance.now() + ms;
    if (due >= this.#due) return;
    this.#due = due;
    this.#arm(ms);
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
  }

  #arm(ms: number): void {
    clearTimeout(this.#timer);
    if (ms <= 0) this.#resolve();
    else this.#timer = setTimeout(this.#resolve, ms);
  }
}
