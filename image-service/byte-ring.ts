/**
 * A window of memory through which one thread sends a stream of bytes to another. Neither hops through a third thread and
 * none is blocked: the writer waits while the window is full, the reader while it is empty, both in their event loops.
 */
import { type ByteSource, Restarted } from './byte-source.ts';

/** Bytes of a window: the most that is in flight of one layer. A power of two, as positions wrap around at 2^32. */
const WINDOW = 4 << 20;
const HEADER = 64;
/** The most that the reader takes at once, so that the window is refilled while it works. */
const PIECE = 1 << 20;

/** The cells of the header, 32 bits each. */
const WRITTEN = 0; // bytes, modulo 2^32
const READ = 1; // bytes, modulo 2^32
const ROUND = 2; // which stream the writer sends: it begins anew where the bytes were wrong
const ROUND_READ = 3; // which stream the reader takes
const COMPLETE = 4; // 1: the last byte is written, and all of them are verified
const WAITED = 5; // ms that the reader has waited for bytes
const WRITER_ACTS = 6; // counts what the reader may wait for
const READER_ACTS = 7; // counts what the writer may wait for

export type RingMemory = SharedArrayBuffer;

/** `window`: a power of two. */
export const ringMemory = (window = WINDOW): RingMemory => new SharedArrayBuffer(HEADER + window);

/** Prepares the memory of a stream that neither thread uses any more for the next one. */
export function clearRing(memory: RingMemory): void {
  new Int32Array(memory, 0, HEADER / 4).fill(0);
}

/** How long the reader has waited for bytes, in ms. */
export const waitedMs = (memory: RingMemory): number =>
  Atomics.load(new Int32Array(memory, 0, HEADER / 4), WAITED);

class Ring {
  readonly cells: Int32Array;
  readonly bytes: Buffer;

  constructor(memory: RingMemory) {
    this.cells = new Int32Array(memory, 0, HEADER / 4);
    this.bytes = Buffer.from(memory, HEADER);
  }

  load(cell: number): number {
    return Atomics.load(this.cells, cell) >>> 0;
  }

  store(cell: number, value: number): void {
    Atomics.store(this.cells, cell, value | 0);
  }

  /** Wakes the thread that waits for this count. */
  act(count: number): void {
    Atomics.add(this.cells, count, 1);
    Atomics.notify(this.cells, count);
  }

  /** Waits until the count is another one than `seen`. Throws the signal's reason at its abort. */
  async changed(count: number, seen: number, signal: AbortSignal): Promise<void> {
    signal.throwIfAborted();
    const wait = Atomics.waitAsync(this.cells, count, seen | 0);
    if (!wait.async) return;
    const wake = (): void => {
      Atomics.notify(this.cells, count);
    };
    signal.addEventListener('abort', wake, { once: true });
    try {
      await wait.value;
    } finally {
      signal.removeEventListener('abort', wake);
    }
    signal.throwIfAborted();
  }
}

/** The thread that has the bytes. */
export class RingWriter {
  readonly #ring: Ring;
  #written: number;

  constructor(memory: RingMemory) {
    this.#ring = new Ring(memory);
    this.#written = this.#ring.load(WRITTEN);
  }

  /** Sends bytes, which may be used anew when it resolves. Waits while the window is full. */
  async write(piece: Uint8Array, signal: AbortSignal): Promise<void> {
    const { bytes } = this.#ring;
    for (let at = 0; at < piece.length; ) {
      const seen = this.#ring.load(READER_ACTS);
      const free = bytes.length - ((this.#written - this.#ring.load(READ)) >>> 0);
      if (free === 0) {
        await this.#ring.changed(READER_ACTS, seen, signal);
        continue;
      }
      const start = this.#written % bytes.length;
      const count = Math.min(free, piece.length - at, bytes.length - start);
      bytes.set(piece.subarray(at, at + count), start);
      at += count;
      this.#written = (this.#written + count) >>> 0;
      this.#ring.store(WRITTEN, this.#written);
      this.#ring.act(WRITER_ACTS);
    }
  }

  /** Discards all that was sent; the reader begins anew. Waits for it to notice. */
  async restart(signal: AbortSignal): Promise<void> {
    const round = this.#ring.load(ROUND) + 1;
    this.#ring.store(ROUND, round);
    this.#ring.act(WRITER_ACTS);
    for (;;) {
      const seen = this.#ring.load(READER_ACTS);
      if (this.#ring.load(ROUND_READ) === round) return;
      await this.#ring.changed(READER_ACTS, seen, signal);
    }
  }

  /** All is sent and verified. */
  complete(): void {
    this.#ring.store(COMPLETE, 1);
    this.#ring.act(WRITER_ACTS);
  }
}

/** The thread that needs the bytes. Their end is an end only once the writer has verified them. */
export class RingReader implements ByteSource, Disposable {
  readonly #ring: Ring;
  #read: number;
  /** Bytes of the last piece. */
  #taken = 0;

  constructor(memory: RingMemory) {
    this.#ring = new Ring(memory);
    this.#read = this.#ring.load(READ);
  }

  begin(): void {
    const round = this.#ring.load(ROUND);
    if (round === this.#ring.load(ROUND_READ)) return;
    // The writer writes nothing until it sees this.
    this.#taken = 0;
    this.#read = this.#ring.load(WRITTEN);
    this.#ring.store(READ, this.#read);
    this.#ring.store(ROUND_READ, round);
    this.#ring.act(READER_ACTS);
  }

  async peek(length: number, signal: AbortSignal): Promise<Buffer> {
    const count = Math.min(length, await this.#available(length, signal));
    const first = Buffer.alloc(count);
    for (let at = 0; at < count; at++)
      first[at] = this.#ring.bytes[(this.#read + at) % this.#ring.bytes.length] ?? 0;
    return first;
  }

  next(signal: AbortSignal): Promise<Buffer | undefined> | Buffer | undefined {
    this.#release();
    const available = this.#availableNow(1);
    if (available === undefined) return this.#available(1, signal).then((count) => this.#take(count));
    signal.throwIfAborted();
    return this.#take(available);
  }

  #take(available: number): Buffer | undefined {
    if (available === 0) return undefined;
    const { bytes } = this.#ring;
    const start = this.#read % bytes.length;
    this.#taken = Math.min(available, PIECE, bytes.length - start);
    return bytes.subarray(start, start + this.#taken);
  }

  /** The memory belongs to the caller. */
  [Symbol.dispose](): void {}

  /** Returns the room of the last piece to the writer. */
  #release(): void {
    if (this.#taken === 0) return;
    this.#read = (this.#read + this.#taken) >>> 0;
    this.#taken = 0;
    this.#ring.store(READ, this.#read);
    this.#ring.act(READER_ACTS);
  }

  /** Bytes to be read: at least so many, or all that are left; undefined where they are still to come. */
  #availableNow(least: number): number | undefined {
    if (this.#ring.load(ROUND) !== this.#ring.load(ROUND_READ)) throw new Restarted();
    const complete = this.#ring.load(COMPLETE) === 1;
    const available = (this.#ring.load(WRITTEN) - this.#read) >>> 0;
    return available >= least || complete ? available : undefined;
  }

  /** As `#availableNow`, when they have come. */
  async #available(least: number, signal: AbortSignal): Promise<number> {
    for (;;) {
      const seen = this.#ring.load(WRITER_ACTS);
      const available = this.#availableNow(least);
      if (available !== undefined) return available;
      const since = performance.now();
      await this.#ring.changed(WRITER_ACTS, seen, signal);
      Atomics.add(this.#ring.cells, WAITED, Math.round(performance.now() - since));
    }
  }
}
