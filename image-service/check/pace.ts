import { CrispError } from '#core/errors.ts';

/** Places in the memory that both threads see. */
const CANCELLED = 0;
const BYTES = 1;
/** A longer wait would make a cancellation late. */
const MAX_WAIT_MS = 1000;

/** What a thread that works synchronously and the one that waits for it tell each other: bytes read so far, and the cancellation. */
export class Pace {
  /** To be passed to the other thread. */
  readonly shared: SharedArrayBuffer;
  readonly #words: BigInt64Array;
  readonly #bytesPerSecond: number;
  readonly #started = performance.now();
  #read = 0;

  /** `bytesPerSecond`: the most that is read; Infinity: no limit. */
  constructor(bytesPerSecond: number, shared = new SharedArrayBuffer(16)) {
    this.#bytesPerSecond = bytesPerSecond;
    this.shared = shared;
    this.#words = new BigInt64Array(shared);
  }

  /** In the thread that reads: counts, waits where that was too fast, and throws Cancelled once it is. */
  read(bytes: number): void {
    this.#read += bytes;
    Atomics.store(this.#words, BYTES, BigInt(this.#read));
    for (;;) {
      if (Atomics.load(this.#words, CANCELLED) !== 0n)
        throw new CrispError('Cancelled', 'the check was cancelled');
      const ahead = (this.#read / this.#bytesPerSecond) * 1000 - (performance.now() - this.#started);
      if (ahead <= 0) return;
      Atomics.wait(this.#words, CANCELLED, 0n, Math.min(ahead, MAX_WAIT_MS));
    }
  }

  /** In the other: the bytes so far. */
  get bytes(): number {
    return Number(Atomics.load(this.#words, BYTES));
  }

  cancel(): void {
    Atomics.store(this.#words, CANCELLED, 1n);
    Atomics.notify(this.#words, CANCELLED);
  }
}
