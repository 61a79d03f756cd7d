import { Duplex, type Writable } from 'node:stream';
import { writeReusedBuffer } from '../read-buffer.ts';
import { INITIAL_WINDOW, RST } from './frames.ts';
import type { SpdyHeaders } from './headers.ts';

/** What is read ahead of whoever takes it. */
const READ_AHEAD = 256 << 10;
/** A peer is told of what was taken when that much has come together. */
const TELL_BYTES = INITIAL_WINDOW / 2;
const MAX_FRAME = 64 << 10;

/** The session, as its streams see it. */
export interface StreamOwner {
  sendData(stream: number, bytes: Buffer, fin: boolean, done: () => void): void;
  sendReset(stream: number, status: number): void;
  /** That many bytes of the stream were taken. */
  sendWindow(stream: number, bytes: number): void;
  /** How much may be sent now, in all; undefined where the peer keeps no count. */
  budget(): number | undefined;
  /** The stream takes no more, or again. */
  congested(stream: SpdyStream, yes: boolean): void;
  forget(stream: SpdyStream): void;
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
  #taken = 0;
  #ended = { here: false, there: false };
  #sink: Writable | undefined;

  constructor(id: number, headers: SpdyHeaders, window: number, owner: StreamOwner) {
    super({ allowHalfOpen: true, readableHighWaterMark: READ_AHEAD });
    this.id = id;
    this.headers = headers;
    this.#window = window;
    this.#owner = owner;
    this.on('error', () => {}); // the close that follows tells whoever uses it
  }

  /** Bytes from the peer, which may be lent (see ReadCallback): whether they were kept. */
  receive(bytes: Buffer, fin: boolean, lent = false): boolean {
    if (this.#ended.there || this.destroyed) return false;
    let kept = false;
    if (bytes.length > 0) {
      this.#taken += bytes.length;
      if (this.#sink) kept = this.#hand(this.#sink, bytes);
      else if (!this.push(lent ? Buffer.from(bytes) : bytes)) this.#owner.congested(this, true);
      else this.#tell();
    }
    if (fin) this.#finish();
    return kept;
  }

  /**
   * Hands all that the peer sends to the sink, as piping does, but with no stop on the way: what the sink takes at once
   * is never copied. It ends the sink; a sink that has closed takes nothing, and the rest is dropped.
   */
  handTo(sink: Writable): void {
    for (let bytes = this.read(); bytes !== null; bytes = this.read()) sink.write(bytes);
    this.#sink = sink;
    sink.on('drain', () => this.#room()).once('close', () => this.#room());
    if (this.#ended.there) sink.end();
    this.resume(); // it ends by itself when the peer has
  }

  #hand(sink: Writable, bytes: Buffer): boolean {
    const isOpen = !sink.destroyed && !sink.writableEnded;
    const kept = isOpen && writeReusedBuffer(sink, bytes);
    if (isOpen && sink.writableLength > READ_AHEAD) this.#owner.congested(this, true);
    else this.#tell();
    return kept;
  }

  #finish(): void {
    this.#ended.there = true;
    this.#sink?.end();
    this.push(null);
    this.#owner.congested(this, false);
  }

  #room(): void {
    this.#owner.congested(this, false);
    this.#tell();
  }

  /** The peer has ended the stream in disorder. */
  cut(status: number): void {
    this.#ended = { here: true, there: true };
    this.destroy(new Error(`the client has reset the stream (status ${status})`));
  }

  /** The peer takes more. False where that is more than the protocol allows. */
  widen(bytes: number): boolean {
    this.#window += bytes;
    this.proceed();
    return this.#window < 2 ** 31;
  }

  /** Ends it in disorder, with a status of RST_STREAM. */
  reset(status: number): void {
    if (this.destroyed) return;
    this.#owner.sendReset(this.id, status);
    this.#ended = { here: true, there: true };
    this.destroy();
  }

  override _read(): void {
    if (!this.#sink) this.#room();
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
    this.#owner.forget(this);
    const sending = this.#sending;
    this.#sending = undefined;
    done(error);
    sending?.done();
  }

  /** Sends what the windows allow. */
  proceed(): void {
    for (let sending = this.#sending; sending && !this.destroyed; sending = this.#sending) {
      const session = this.#owner.budget();
      const room = session === undefined ? MAX_FRAME : Math.min(this.#window, session, MAX_FRAME);
      if (room <= 0 && sending.bytes.length > 0) return;
      const piece = sending.bytes.subarray(0, room);
      this.#window -= piece.length;
      sending.bytes = sending.bytes.subarray(piece.length);
      const { done } = sending;
      const last = sending.bytes.length === 0;
      if (last) this.#sending = undefined;
      this.#owner.sendData(this.id, piece, false, last ? done : () => {});
    }
  }

  #tell(): void {
    if (this.#taken < TELL_BYTES) return;
    this.#owner.sendWindow(this.id, this.#taken);
    this.#taken = 0;
  }
}
