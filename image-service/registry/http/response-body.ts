import { Writable } from 'node:stream';

/** Bytes that are held before the connection is read no further. */
const WINDOW = 256 << 10;
/** Room for what one read of a connection brings beyond that. */
const CAPACITY = 2 * WINDOW;

/**
 * The body of a response, as undici writes it. It copies what it gets: a connection reads into the same memory again. Two buffers take
 * turns, so that a body of gigabytes leaves no garbage; V8 counts memory outside of its heap, and would collect all of it again and again.
 */
export class ResponseBody extends Writable implements AsyncIterable<Buffer> {
  readonly #capacity: number;
  #filling = Buffer.alloc(0);
  #taken = Buffer.alloc(0);
  #filled = 0;
  #isFull = false;
  #wake: () => void = () => {};

  /** `length`: bytes of the body, where they are announced. */
  constructor(length: number | undefined) {
    super();
    this.#capacity = Math.min(length ?? 0, CAPACITY);
    this.on('error', () => {}); // reported by the iterator
  }

  /** Returns false where no more should come until `drain`; takes it all the same. */
  override write(chunk: Uint8Array): boolean {
    const end = this.#filled + chunk.length;
    if (end > this.#filling.length) {
      // Bodies without an announced length come in chunks of any size, down to one byte.
      const doubled = Math.min(2 * this.#filling.length, CAPACITY);
      const larger = Buffer.allocUnsafeSlow(Math.max(end, this.#capacity, doubled));
      larger.set(this.#filling.subarray(0, this.#filled));
      this.#filling = larger;
    }
    this.#filling.set(chunk, this.#filled);
    this.#filled = end;
    this.#isFull = end >= WINDOW;
    this.#wake();
    return !this.#isFull;
  }

  override _final(callback: () => void): void {
    this.#wake();
    callback();
  }

  override _destroy(error: Error | null, callback: (error: Error | null) => void): void {
    this.#wake();
    callback(error);
  }

  /**
   * The bytes, in pieces that are valid until the next one is requested. Throws what the response failed with, behind the bytes that
   * came before. To leave it early ends the connection.
   */
  async *[Symbol.asyncIterator](): AsyncGenerator<Buffer, void> {
    try {
      for (;;) {
        if (this.#filled > 0) yield this.#take();
        else if (this.errored) throw this.errored;
        else if (this.writableEnded || this.destroyed) return;
        else await this.#woken();
      }
    } finally {
      if (!this.writableEnded) this.destroy();
    }
  }

  /** Settles in a later turn of the event loop than the next byte comes: TLS brings 16 KiB at once, and several times in a turn. */
  #woken(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = () => {};
        setImmediate(resolve);
      };
    });
  }

  #take(): Buffer {
    const piece = this.#filling.subarray(0, this.#filled);
    [this.#filling, this.#taken] = [this.#taken, this.#filling];
    this.#filled = 0;
    if (this.#isFull) {
      this.#isFull = false;
      this.emit('drain'); // more may come at once
    }
    return piece;
  }
}

/** Bytes of a body whose end is known by that. */
export function announcedLength(
  headers: Readonly<Record<string, string | readonly string[] | undefined>>,
): number | undefined {
  const length = Number(headers['content-length'] ?? Number.NaN);
  return headers['transfer-encoding'] === undefined && Number.isSafeInteger(length) ? length : undefined;
}
