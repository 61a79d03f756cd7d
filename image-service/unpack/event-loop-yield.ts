/** A turn of synchronous work, in ms: the longest time until a cancellation is received. */
const TURN_MS = 50;

/** Lets a thread that works synchronously receive messages now and then. */
export class EventLoopYield {
  readonly #signal: AbortSignal;
  #until = performance.now() + TURN_MS;

  constructor(signal: AbortSignal) {
    this.#signal = signal;
  }

  /** To be called between two steps of the work. Throws the signal's reason at its abort. */
  async yieldIfDue(): Promise<void> {
    if (performance.now() < this.#until) return;
    await new Promise(setImmediate);
    this.#signal.throwIfAborted();
    this.#until = performance.now() + TURN_MS;
  }
}
