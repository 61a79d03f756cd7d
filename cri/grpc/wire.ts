/** The sending end of a connection's socket: the frames of one turn leave together, and not more than the client reads. */
import type { Socket } from 'node:net';
import type { Sink } from './send-queue.ts';

/** Bytes that the kernel did not take yet, from which on nothing is read from the client either. */
const MAX_UNSENT = 1 << 20;
/** For a client to read why its connection ends, in ms. */
const LINGER_MS = 1000;

export class Wire implements Sink {
  readonly #socket: Socket;
  readonly #onRoom: () => void;
  #pieces: Buffer[] = [];
  #pending = 0;
  #isFull = false;
  #isEnded = false;

  /** `onRoom` is called when the client has read what was too much. */
  constructor(socket: Socket, onRoom: () => void) {
    this.#socket = socket;
    this.#onRoom = onRoom;
    socket.on('drain', () => this.#drained());
  }

  get isFull(): boolean {
    return this.#isFull;
  }

  write(bytes: Buffer): void {
    if (this.#isEnded) return;
    if (this.#pieces.length === 0) process.nextTick(() => this.#flush());
    this.#pieces.push(bytes);
    this.#pending += bytes.length;
    if (this.#pending + this.#socket.writableLength > MAX_UNSENT) this.#isFull = true;
  }

  /** Ends the connection when what was written is sent; `forced`: after a while also where the client reads nothing. */
  end(forced: boolean): void {
    this.#flush();
    this.#isEnded = true;
    this.#socket.end(() => this.#socket.destroy());
    if (forced) setTimeout(() => this.#socket.destroy(), LINGER_MS).unref();
  }

  destroy(): void {
    this.#flush();
    this.#socket.destroy();
  }

  #flush(): void {
    const [first, ...others] = this.#pieces;
    if (!first || this.#socket.destroyed) return;
    this.#pieces = [];
    this.#pending = 0;
    this.#socket.write(others.length === 0 ? first : Buffer.concat([first, ...others]));
    if (!this.#isFull) return;
    if (this.#socket.writableLength > MAX_UNSENT) this.#socket.pause();
    else this.#drained(); // the kernel has taken it
  }

  #drained(): void {
    if (!this.#isFull) return;
    this.#isFull = false;
    this.#socket.resume();
    this.#onRoom();
  }
}
