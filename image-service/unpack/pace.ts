/** A turn of synchronous work, in ms: so long a cancellation may wait to be heard. */
const TURN_MS = 50;

/** Lets a thread that works synchronously hear messages now and then. */
export class Pace {
  readonly #signal: AbortSignal;
  #until = performance.now() + TURN_MS;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** Between two steps of the work. Throws the signal's reason at its abort. */
  async step(): Promise<void> {
    if (performance.now() < this.#until) return;
    await new Promise(setImmediate);
    this.#signal.throwIfAborted();
    this.#until = performance.now() + TURN_MS;
  }
}
