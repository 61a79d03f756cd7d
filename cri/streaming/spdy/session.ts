/**
 * One SPDY/3.1 connection, seen from the server, over any byte stream. The framing is our own: the one library there is
 * for Node (spdy-transport) was left in 2018 with readable-stream 3 and its own idea of flow control, and what
 * Kubernetes speaks is a small part of the specification.
 *
 * Flow control: Kubernetes' own clients count no windows, neither ours nor theirs. So crisp tells what it has taken, as
 * it should, and counts what it sends only where the peer shows, by SETTINGS or WINDOW_UPDATE, that it counts too; some
 * (of SPDY/3) count their streams, and no session.
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
  /** Called with each new stream, which is answered already. */
  readonly onStream: (stream: SpdyStream) => void;
}

/** How long the peer may take to close after it was told of the end. */
const CLOSE_MS = 3000;
/** Answers (to pings, to refused streams) that may wait for a peer that does not read. */
const MAX_ANSWERS = 256 << 10;

export class SpdySession implements StreamOwner {
  readonly #transport: Duplex;
  readonly #options: SpdySessionOptions;
  readonly #streams = new Map<number, SpdyStream>();
  readonly #congested = new Set<SpdyStream>();
  readonly #inflater = new HeaderInflater();
  readonly #deflater = new HeaderDeflater();
  #lastStream = 0;
  #counts = false;
  #window = frames.INITIAL_WINDOW;
  /** What was sent on each stream and is not told to be taken: of a peer that counts its streams, and not the session. */
  #owed: Map<number, number> | undefined = new Map();
  #initialWindow = frames.INITIAL_WINDOW;
  #taken = 0;
  /** Bytes of answers that the peer has not taken. */
  #answers = 0;
  #closing = false;
  /** Whether what is read lies in a buffer that is used again, and whether somebody has kept bytes of the last read. */
  readonly #lent: boolean;
  #kept = false;
  #onRoom: (() => void) | undefined;
  /** Settles when the connection is over, with the reason where it was not in order. Never rejects. */
  readonly ended: Promise<string | undefined>;

  /** `head`: what came with the upgrade. */
  constructor(transport: Duplex, head: Buffer, options: SpdySessionOptions) {
    this.#transport = transport;
    this.#options = options;
    this.#lent = transport instanceof BufferedSocket;
    transport.on('error', () => {});
    transport.once('close', () => this.#onRoom?.());
    this.ended = this.#serve(head);
  }

  /** Tells the peer of an orderly end, and, once all that was written is on its way, waits a little for it to close. */
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
        return this.#take(reader.read(bytes));
      });
    } catch (error) {
      reason = describeError(error);
      if (error instanceof SpdyProtocolError) this.#goAway(frames.GOAWAY_STATUS.protocolError);
    } finally {
      this.#closing = true;
      for (const stream of this.#streams.values()) stream.cut(frames.RST.cancel);
      this.#inflater[Symbol.dispose]();
      this.#leave();
    }
    return reason;
  }

  /** What was written may still go out. */
  #leave(): void {
    const cut = () => this.#transport.destroy();
    const timer = setTimeout(cut, CLOSE_MS);
    this.#transport.once('close', () => clearTimeout(timer)).end(cut);
  }

  /** The frames up to the first that takes time; then a promise of the rest, else whether bytes of them are kept. */
  #take(found: Generator<frames.ControlFrame | frames.DataPiece>): Promise<void> | boolean {
    for (let step = found.next(); !step.done; step = found.next()) {
      const frame = step.value;
      if (frame.kind === 'data') this.#data(frame);
      else {
        const later = this.#control(frame);
        if (later) return later.then(() => this.#rest(found));
      }
    }
    return this.#isBlocked ? this.#untilRoom() : this.#kept;
  }

  async #rest(found: Generator<frames.ControlFrame | frames.DataPiece>): Promise<void> {
    await this.#take(found);
  }

  get #isBlocked(): boolean {
    return (this.#congested.size > 0 || this.#answers > MAX_ANSWERS) && !this.#transport.destroyed;
  }

  async #untilRoom(): Promise<void> {
    while (this.#isBlocked) {
      const { promise, resolve } = Promise.withResolvers<void>();
      this.#onRoom = resolve;
      await promise;
    }
  }

  #data({ stream, bytes, fin }: frames.DataPiece): void {
    const known = this.#streams.get(stream);
    if (known) this.#kept = known.receive(bytes, fin, this.#lent) || this.#kept;
    else if (stream === 0 || stream > this.#lastStream)
      throw new SpdyProtocolError(`data for stream ${stream}`);
    this.#taken += bytes.length;
    if (this.#taken < frames.INITIAL_WINDOW / 2) return;
    this.#send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(0, this.#taken)));
    this.#taken = 0;
  }

  /** A promise where the frame has packed headers, whose unpacking takes time. */
  #control({ type, flags, payload }: frames.ControlFrame): Promise<void> | undefined {
    const needed = frames.MINIMUM_BYTES[type] ?? 0;
    if (payload.length < needed)
      throw new SpdyProtocolError(`a frame of type ${type} has ${payload.length} bytes`);
    switch (type) {
      case frames.SYN_STREAM:
        return this.#open(payload.readUInt32BE(0) & 0x7fff_ffff, flags, payload.subarray(10));
      case frames.SYN_REPLY:
      case frames.HEADERS:
        return this.#passOver(flags, payload);
      case frames.RST_STREAM:
        this.#streams.get(payload.readUInt32BE(0))?.cut(payload.readUInt32BE(4));
        break;
      case frames.SETTINGS:
        this.#settings(payload);
        break;
      case frames.PING:
        // Odd numbers are the peer's own pings, even ones answers to ours, of which there are none.
        if (payload.readUInt32BE(0) % 2 === 1)
          this.#send(frames.controlFrame(type, 0, payload.subarray(0, 4)));
        break;
      case frames.WINDOW_UPDATE:
        this.#widen(payload.readUInt32BE(0), payload.readUInt32BE(4) & 0x7fff_ffff);
    }
    return undefined;
  }

  /** Nothing in these headers is of use, but each block is a part of the packed whole. */
  async #passOver(flags: number, payload: Buffer): Promise<void> {
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
      this.#counts = true;
      for (const stream of this.#streams.values()) stream.widen(value - this.#initialWindow);
      this.#initialWindow = value;
    }
  }

  #widen(id: number, bytes: number): void {
    this.#counts = true;
    if (id !== 0) {
      const stream = this.#streams.get(id);
      if (stream) this.#paid(id, bytes);
      if (stream && !stream.widen(bytes)) stream.reset(frames.RST.protocolError);
      return;
    }
    this.#owed = undefined;
    this.#window += bytes;
    if (this.#window >= 2 ** 31) throw new SpdyProtocolError('the window of the session is beyond 2 GiB');
    for (const stream of this.#streams.values()) stream.proceed();
  }

  /**
   * As long as the peer has told nothing of the session, and of no stream more than was sent, what it has taken of the
   * streams is taken of the session: one that counted the session would have said so before it was used up.
   */
  #paid(id: number, bytes: number): void {
    const owed = this.#owed?.get(id) ?? 0;
    if (bytes > owed) this.#owed = undefined;
    this.#owed?.set(id, owed - bytes);
    this.#relieve();
  }

  #relieve(): void {
    if (!this.#owed || this.#window > 0) return;
    this.#window = frames.INITIAL_WINDOW - this.#owed.values().reduce((sum, one) => sum + one, 0);
    for (const stream of this.#streams.values()) stream.proceed();
  }

  sendData(stream: number, bytes: Buffer, fin: boolean, done: () => void): void {
    this.#window -= bytes.length;
    this.#owed?.set(stream, (this.#owed.get(stream) ?? 0) + bytes.length);
    if (this.#transport.destroyed || this.#transport.writableEnded) {
      done();
      return;
    }
    let told = false;
    const tell = (): void => {
      if (!told) done();
      told = true;
    };
    const header = frames.dataHeader(stream, bytes.length, fin);
    this.#transport.cork();
    this.#transport.write(header, bytes.length === 0 ? tell : undefined);
    if (bytes.length > 0) this.#transport.write(bytes, tell);
    this.#transport.uncork();
    // What the kernel has taken is told before any event tells it: its buffer may be used again.
    if (this.#transport.writableLength === 0) tell();
  }

  sendReset(stream: number, status: number): void {
    this.#send(frames.controlFrame(frames.RST_STREAM, 0, frames.words(stream, status)));
  }

  sendWindow(stream: number, bytes: number): void {
    if (stream !== 0) this.#send(frames.controlFrame(frames.WINDOW_UPDATE, 0, frames.words(stream, bytes)));
  }

  budget(): number | undefined {
    return this.#counts ? this.#window : undefined;
  }

  congested(stream: SpdyStream, yes: boolean): void {
    if (yes) this.#congested.add(stream);
    else if (this.#congested.delete(stream) && this.#congested.size === 0) this.#onRoom?.();
  }

  forget(stream: SpdyStream): void {
    this.#streams.delete(stream.id);
    this.congested(stream, false);
    this.#owed?.delete(stream.id);
    this.#relieve();
  }

  #goAway(status: number): void {
    this.#send(frames.controlFrame(frames.GOAWAY, 0, frames.words(this.#lastStream, status)));
  }

  #send(frame: Buffer): void {
    if (this.#transport.destroyed || this.#transport.writableEnded) return;
    this.#answers += frame.length;
    this.#transport.write(frame, () => {
      this.#answers -= frame.length;
      if (this.#answers <= MAX_ANSWERS) this.#onRoom?.();
    });
  }
}
