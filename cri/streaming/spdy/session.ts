/**
 * One SPDY/3.1 connection, seen from the server, over any byte stream. The framing is implemented here: the only
 * library for Node (spdy-transport) is unmaintained since 2018, with readable-stream 3 and different flow control, and
 * Kubernetes uses a small part of the specification.
 *
 * Flow control: Kubernetes' own clients track no windows, neither ours nor theirs. So crisp sends WINDOW_UPDATEs, as
 * it should, and limits what it sends only if the peer shows, by SETTINGS or WINDOW_UPDATE, that it tracks them, too; some
 * (of SPDY/3) track windows of streams, but not of the session.
 * For the others TCP is the window: while a stream takes no more, nothing is read from the connection.
 */
import type { Duplex } from 'node:stream';
import { describeError } from '#core/errors.ts';
import { BufferedSocket } from '../read-buffer.ts';
import * as frames from './frames.ts';
import { HeaderDeflater, HeaderInflater, SpdyProtocolError } from './headers.ts';
import { readAll } from './reading.ts';
import { SpdyStream, type StreamOwner } from './stream.ts';

export interface SpdySessionOptions {
  /** Streams that may be open at once; more are refused. */
  readonly maxStreams: number;
  /** Called with each new stream, after its SYN_REPLY. */
  readonly onStream: (stream: SpdyStream) => void;
}

/** How long the peer may take to close after the GOAWAY. */
const CLOSE_MS = 3000;
/** Maximum bytes of replies (to pings, to refused streams) that are queued for a peer that does not read. */
const MAX_QUEUED_REPLIES = 256 << 10;

export class SpdySession implements StreamOwner {
  readonly #transport: Duplex;
  readonly #options: SpdySessionOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #congested = new Set<SpdyStream>();
  readonly #inflater = new HeaderInflater();
  readonly #deflater = new HeaderDeflater();
  #lastStream = 0;
  #peerTracksWindows = false;
  #window = frames.INITIAL_WINDOW;
  /** Bytes sent on each stream and not acknowledged by a WINDOW_UPDATE, for a peer that tracks streams but not the session. */
  #unacknowledged: Map<number, number> | undefined = new Map();
  #initialWindow = frames.INITIAL_WINDOW;
  #consumed = 0;
  /** Bytes of replies that the peer has not read. */
  #queuedReplies = 0;
  #closing = false;
  /** Whether reads use a reused buffer, and whether bytes of the last read were kept. */
  readonly #reusedBuffer: boolean;
  #kept = false;
  #onUnblocked: (() => void) | undefined;
  /** Settles when the connection is over, with the reason if that was not orderly. Never rejects. */
  readonly ended: Promise<string | undefined>;

  /** `head`: what came with the upgrade. */
  constructor(transport: Duplex, head: Buffer, options: SpdySessionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#reusedBuffer = transport instanceof BufferedSocket;
    transport.on('error', () => {});
    transport.once('close', () => this.#onUnblocked?.());
    this.ended = this.#serve(head);
  }

  /** Sends GOAWAY and, once everything is written, waits a little for the peer to close. */
  async close(): Promise<void> {
    if (this.#closing) return;
    this.#closing = true;
    this.#goAway(frames.GOAWAY_STATUS.ok);
    for (const stream of this.#streams.values()) stream.resume();
    let timer: NodeJS.Timeout | undefined;
    this.#transport.end(() => {
      timer = setTimeout(() => this.#transport.destroy(), CLOSE_MS).unref();
    });
    await this.ended;
    clearTimeout(timer);
  }

  destroy(): void {
    this.#transport.destroy();
  }

  async #serve(head: Buffer): Promise<string | undefined> {
    let reason: string | undefined;
    try {
      const reader = new frames.FrameReader();
      await readAll(this.#transport, head, (bytes) => {
        this.#kept = false;
        return this.#process(reader.read(bytes));
      });
    } catch (error) {
      reason = describeError(error);
      if (error instanceof SpdyProtocolError) this.#goAway(frames.GOAWAY_STATUS.protocolError);
    } finally {
      this.#closing = true;
      for (const stream of this.#streams.values()) stream.abort(frames.RST.cancel);
      this.#inflater[Symbol.dispose]();
      this.#endTransport();
    }
    return reason;
  }

  /** Ends the transport; queued writes are still sent. */
  #endTransport(): void {
    const destroy = () => this.#transport.destroy();
    const timer = setTimeout(destroy, CLOSE_MS);
    this.#transport.once('close', () => clearTimeout(timer)).end(destroy);
  }

  /** Processes frames up to the first asynchronous one; returns a promise of the rest, else whether bytes were kept. */
  #process(found: Generator<frames.ControlFrame | frames.DataPiece>): Promise<void> | boolean {
    for (let step = found.next(); !step.done; step = found.next()) {
      const frame = step.value;
      if (frame.kind === 'data') this.#data(frame);
      else {
        const later = this.#control(frame);
        if (later) return later.then(() => this.#processRest(found));
      }
    }
    return this.#isBlocked ? this.#untilUnblocked() : this.#kept;
  }

  async #processRest(found: Generator<frames.ControlFrame | frames.DataPiece>): Promise<void> {
    await this.#process(found);
  }

  get #isBlocked(): boolean {
    return (
      (this.#congested.size > 0 || this.#queuedReplies > MAX_QUEUED_REPLIES) && !this.#transport.destroyed
    );
  }

  async #untilUnblocked(): Promise<void> {
    while (this.#isBlocked) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onUnblocked = resolve;
      await promise;
    }
  }

  #data({ stream, bytes, fin }: frames.DataPiece): void {
    const known = this.#streams.get(stream);
    if (known) this.#kept = known.receive(bytes, fin, this.#reusedBuffer) || this.#kept;
    else if (stream === 0 || stream > this.#lastStream)
      throw new SpdyProtocolError(`data for stream ${stream}`);
    this.#consumed += bytes.length;
    if (this.#consumed < frames.INITIAL_WINDOW / 2) return;
    this.#send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(0, this.#consumed)));
    this.#consumed = 0;
  }

  /** A promise if the frame has headers, whose decompression is asynchronous. */
  #control({ type, flags, payload }: frames.ControlFrame): Promise<void> | undefined {
    const needed = frames.MINIMUM_BYTES[type] ?? 0;
    if (payload.length < needed)
      throw new SpdyProtocolError(`a frame of type ${type} has ${payload.length} bytes`);
    switch (type) {
      case frames.SYN_STREAM:
        return this.#open(payload.readUInt32BE(0) & 0x7fff_ffff, flags, payload.subarray(10));
      case frames.SYN_REPLY:
      case frames.HEADERS:
        return this.#skipHeaders(flags, payload);
      case frames.RST_STREAM:
        this.#streams.get(payload.readUInt32BE(0))?.abort(payload.readUInt32BE(4));
        break;
      case frames.SETTINGS:
        this.#settings(payload);
        break;
      case frames.PING:
        // Odd numbers are the peer's own pings, even ones replies to ours, of which there are none.
        if (payload.readUInt32BE(0) % 2 === 1)
          this.#send(frames.controlFrame(type, 0, payload.subarray(0, 4)));
        break;
      case frames.WINDOW_UPDATE:
        this.#widen(payload.readUInt32BE(0), payload.readUInt32BE(4) & 0x7fff_ffff);
    }
    return undefined;
  }

  /** These headers are not used, but each block is part of the compression stream. */
  async #skipHeaders(flags: number, payload: Buffer): Promise<void> {
    await this.#inflater.read(payload.subarray(4));
    const stream = this.#streams.get(payload.readUInt32BE(0));
    if (flags & frames.FLAG_FIN) stream?.receive(Buffer.alloc(0), true);
  }

  async #open(id: number, flags: number, block: Buffer): Promise<void> {
    const headers = await this.#inflater.read(block);
    if (id % 2 === 0 || id <= this.#lastStream)
      throw new SpdyProtocolError(`stream ${id} after ${this.#lastStream}`);
    this.#lastStream = id;
    if (this.#closing || this.#streams.size >= this.#options.maxStreams)
      return this.sendReset(id, frames.RST.refused);
    const stream = new SpdyStream(id, headers, this.#initialWindow, this);
    this.#streams.set(id, stream);
    this.#send(frames.controlFrame(frames.SYN_REPLY, 0, frames.words(id), this.#deflater.write(new Map())));
    if (flags & frames.FLAG_FIN) stream.receive(Buffer.alloc(0), true);
    this.#options.onStream(stream);
  }

  #settings(payload: Buffer): void {
    for (const value of frames.initialWindows(payload)) {
      this.#peerTracksWindows = true;
      for (const stream of this.#streams.values()) stream.widen(value - this.#initialWindow);
      this.#initialWindow = value;
    }
  }

  #widen(id: number, bytes: number): void {
    this.#peerTracksWindows = true;
    if (id !== 0) {
      const stream = this.#streams.get(id);
      if (stream) this.#acknowledge(id, bytes);
      if (stream && !stream.widen(bytes)) stream.reset(frames.RST.protocolError);
      return;
    }
    this.#unacknowledged = undefined;
    this.#window += bytes;
    if (this.#window >= 2 ** 31) throw new SpdyProtocolError('the window of the session is beyond 2 GiB');
    for (const stream of this.#streams.values()) stream.proceed();
  }

  /**
   * As long as the peer has sent no WINDOW_UPDATE for the session, and for no stream more than was sent, acknowledged bytes
   * of streams count for the session as well: a peer that tracks the session would have sent one before it was used up.
   */
  #acknowledge(id: number, bytes: number): void {
    const pending = this.#unacknowledged?.get(id) ?? 0;
    if (bytes > pending) this.#unacknowledged = undefined;
    this.#unacknowledged?.set(id, pending - bytes);
    this.#refillWindow();
  }

  #refillWindow(): void {
    if (!this.#unacknowledged || this.#window > 0) return;
    this.#window = frames.INITIAL_WINDOW - this.#unacknowledged.values().reduce((sum, one) => sum + one, 0);
    for (const stream of this.#streams.values()) stream.proceed();
  }

  sendData(stream: number, bytes: Buffer, fin: boolean, done: () => void): void {
    this.#window -= bytes.length;
    this.#unacknowledged?.set(stream, (this.#unacknowledged.get(stream) ?? 0) + bytes.length);
    if (this.#transport.destroyed || this.#transport.writableEnded) {
      done();
      return;
    }
    let reported = false;
    const report = (): void => {
      if (!reported) done();
      reported = true;
    };
    const header = frames.dataHeader(stream, bytes.length, fin);
    this.#transport.cork();
    this.#transport.write(header, bytes.length === 0 ? report : undefined);
    if (bytes.length > 0) this.#transport.write(bytes, report);
    this.#transport.uncork();
    // What the kernel has taken is reported at once, before the write callback: its buffer may be reused.
    if (this.#transport.writableLength === 0) report();
  }

  sendReset(stream: number, status: number): void {
    this.#send(frames.controlFrame(frames.RST_STREAM, 0, frames.words(stream, status)));
  }

  sendWindow(stream: number, bytes: number): void {
    if (stream !== 0) this.#send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(stream, bytes)));
  }

  sessionWindow(): number | undefined {
    return this.#peerTracksWindows ? this.#window : undefined;
  }

  setCongested(stream: SpdyStream, congested: boolean): void {
    if (congested) this.#congested.add(stream);
    else if (this.#congested.delete(stream) && this.#congested.size === 0) this.#onUnblocked?.();
  }

  removeStream(stream: SpdyStream): void {
    this.#streams.delete(stream.id);
    this.setCongested(stream, false);
    this.#unacknowledged?.delete(stream.id);
    this.#refillWindow();
  }

  #goAway(status: number): void {
    this.#send(frames.controlFrame(frames.GOAWAY, 0, frames.words(this.#lastStream, status)));
  }

  #send(frame: Buffer): void {
    if (this.#transport.destroyed || this.#transport.writableEnded) return;
    this.#queuedReplies += frame.length;
    this.#transport.write(frame, () => {
      this.#queuedReplies -= frame.length;
      if (this.#queuedReplies <= MAX_QUEUED_REPLIES) this.#onUnblocked?.();
    });
  }
}
