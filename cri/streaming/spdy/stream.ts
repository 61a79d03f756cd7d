import { Duplex, type Writable } from 'node:stream';
import { writeReusedBuffer } from '../read-buffer.ts';
import { INITIAL_WINDOW, RST } from './frames.ts';
import type { SpdyHeaders } from './headers.ts';

/** Bytes that are buffered ahead of the reader. */
const READ_AHEAD = 256 << 10;
/** A WINDOW_UPDATE is sent for each so many bytes. */
const WINDOW_UPDATE_BYTES = INITIAL_WINDOW / 2;
const MAX_FRAME = 64 << 10;

/** The session, as used by its streams. */
export interface StreamOwner {
  sendData(stream: number, bytes: Buffer, fin: boolean, done: () => void): void;
  sendReset(stream: number, status: number): void;
  /** Sends a WINDOW_UPDATE for so many consumed bytes of the stream. */
  sendWindow(stream: number, bytes: number): void;
  /** The window of the session, in bytes; undefined if the peer does not track windows. */
  sessionWindow(): number | undefined;
  /** Whether the stream takes no more data. */
  setCongested(stream: SpdyStream, congested: boolean): void;
  removeStream(stream: SpdyStream): void;
}

interface Sending {
  bytes: Buffer;
  readonly done: () => void;
}

/** One stream of a session. */
export class SpdyStream extends Duplex {
  readonly id: number;
  readonly headers: SpdyHeaders;
  readonly #owner: StreamOwner;
  #sending: Sending | undefined;
  #window: number;
  #consumed = 0;
  #ended = { here: false, there: false };
  #sink: Writable | undefined;

  constructor(id: number, headers: SpdyHeaders, window: number, owner: StreamOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_AHEAD });
    this.id = id;
    this.headers = headers;
    this.#window = window;
    this.#owner = owner;
    this.on('error', () => {}); // the close event that follows reports it
  }

  /** Bytes from the peer, possibly in a reused buffer (see ReadCallback); returns whether they were kept. */
  receive(bytes: Buffer, fin: boolean, reused = false): boolean {
    if (this.#ended.there || this.destroyed) return false;
    let kept = false;
    if (bytes.length > 0) {
      this.#consumed += bytes.length;
      if (this.#sink) kept = this.#forward(this.#sink, bytes);
      else if (!this.push(reused ? Buffer.from(bytes) : bytes)) this.#owner.setCongested(this, true);
      else this.#updateWindow();
    }
    if (fin) this.#finish();
    return kept;
  }

  /**
   * Pipes all that the peer sends into the sink, but without a buffer in between: what the sink takes at once is never
   * copied. It ends the sink; if the sink is closed, the rest is dropped.
   */
  forwardTo(sink: Writable): void {
    for (let bytes = this.read(); bytes !== null; bytes = this.read()) sink.write(bytes);
    this.#sink = sink;
    sink.on('drain', () => this.#onDrain()).once('close', () => this.#onDrain());
    if (this.#ended.there) sink.end();
    this.resume(); // it ends when the peer ends it
  }

  #forward(sink: Writable, bytes: Buffer): boolean {
    const isOpen = !sink.destroyed && !sink.writableEnded;
    const kept = isOpen && writeReusedBuffer(sink, bytes);
    if (isOpen && sink.writableLength > READ_AHEAD) this.#owner.setCongested(this, true);
    else this.#updateWindow();
    return kept;
  }

  #finish(): void {
    this.#ended.there = true;
    this.#sink?.end();
    this.push(null);
    this.#owner.setCongested(this, false);
  }

  #onDrain(): void {
    this.#owner.setCongested(this, false);
    this.#updateWindow();
  }

  /** The peer has reset the stream. */
  abort(status: number): void {
    this.#ended = { here: true, there: true };
    this.destroy(new Error(`the client has reset the stream (status ${status})`));
  }

  /** Widens the send window. False if it exceeds what the protocol allows. */
  widen(bytes: number): boolean {
    this.#window += bytes;
    this.proceed();
    return this.#window < 2 ** 31;
  }

  /** Resets the stream, with a status of RST_STREAM. */
  reset(status: number): void {
    if (this.destroyed) return;
    this.#owner.sendReset(this.id, status);
    this.#ended = { here: true, there: true };
    this.destroy();
  }

  override _read(): void {
    if (!this.#sink) this.#onDrain();
  }

  override _write(bytes: Buffer, _encoding: string, done: () => void): void {
    this.#sending = { bytes, done };
    this.proceed();
  }

  override _final(done: () => void): void {
    this.#ended.here = true;
    this.#owner.sendData(this.id, Buffer.alloc(0), true, done);
  }

  override _destroy(error: Error | null, done: (error?: Error | null) => void): void {
    if (!(this.#ended.here && this.#ended.there)) this.#owner.sendReset(this.id, RST.cancel);
    this.#ended = { here: true, there: true };
    this.#owner.removeStream(this);
    const sending = this.#sending;
    this.#sending = undefined;
    done(error);
    sending?.done();
  }

  /** Sends what the windows allow. */
  proceed(): void {
    for (let sending = this.#sending; sending && !this.destroyed; sending = this.#sending) {
      const session = this.#owner.sessionWindow();
      const limit = session === undefined ? MAX_FRAME : Math.min(this.#window, session, MAX_FRAME);
      if (limit <= 0 && sending.bytes.length > 0) return;
      const piece = sending.bytes.subarray(0, limit);
      this.#window -= piece.length;
      sending.bytes = sending.bytes.subarray(piece.length);
      const { done } = sending;
      const last = sending.bytes.length === 0;
      if (last) this.#sending = undefined;
      this.#owner.sendData(this.id, piece, false, last ? done : () => {});
    }
  }

  #updateWindow(): void {
    if (this.#consumed < WINDOW_UPDATE_BYTES) return;
    this.#owner.sendWindow(this.id, this.#consumed);
    this.#consumed = 0;
  }
}
