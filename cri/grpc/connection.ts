/**
 * One client's connection: frames in and out, streams, settings and windows (RFC 9113), as far as a gRPC server needs them. node:http2
 * is not used because it costs four times as much for a short call (measured on this: 31 us of CPU a call beside 121, and 141 of
 * grpc-js on top of it). A client that breaks the rules loses its connection; others notice nothing.
 */
import type { Socket } from 'node:net';
import {
  ConnectionError,
  DEFAULT_WINDOW,
  Flag,
  type Frame,
  FrameReader,
  FrameType,
  frame,
  goAway,
  Http2Code,
  rstStream,
  Setting,
  settings,
  windowUpdate,
} from './frames.ts';
import { HeaderBlock, unpadded } from './header-block.ts';
import { type HeaderField, HpackDecoder } from './hpack.ts';
import { applySettings } from './peer-settings.ts';
import { SendQueue } from './send-queue.ts';
import { Stream } from './stream.ts';
import { Wire } from './wire.ts';

/** What a client may send of one request, and of all together, before it waits; both windows are reopened as it arrives. */
const STREAM_WINDOW = 1 << 20;
const CONNECTION_WINDOW = 1 << 23;
/** Bytes of all header fields of a request. */
const MAX_HEADERS = 1 << 16;
/** Until the client has sent its settings, in ms. */
const HANDSHAKE_MS = 20_000;
/** Clients change theirs a few times, when they find their windows too small; each time all streams are gone through. */
const MAX_SETTINGS = 1000;

export interface ConnectionOptions {
  /** Streams at a time, and calls that run on after their stream was ended. */
  readonly maxStreams: number;
  /** A new request. It sets the stream's events before it returns. */
  readonly onRequest: (stream: Stream, fields: readonly HeaderField[], connection: Connection) => void;
  readonly onClose: (connection: Connection) => void;
}

export class Connection {
  readonly #wire: Wire;
  readonly #options: ConnectionOptions;
  readonly #reader = new FrameReader();
  readonly #decoder = new HpackDecoder(MAX_HEADERS);
  readonly #streams = new Map<number, Stream>();
  readonly out: SendQueue;
  readonly #handshake: NodeJS.Timeout;
  #block: HeaderBlock | undefined;
  #settingsCount = 0;
  #lastStream = 0;
  /** The last stream that is served, once the server ends. */
  #lastServed: number | undefined;
  /** Bytes of data that no WINDOW_UPDATE has returned yet. */
  #received = 0;
  /** Calls that run on though their stream has ended. */
  #abandoned = 0;
  #isClosed = false;

  constructor(socket: Socket, options: ConnectionOptions) {
    this.#options = options;
    this.#wire = new Wire(socket, () => this.out.pump());
    this.out = new SendQueue(this.#wire);
    this.#handshake = setTimeout(() => this.#fail(Http2Code.protocolError, 'no settings'), HANDSHAKE_MS);
    this.#handshake.unref();
    socket.on('data', (bytes) => this.#receive(bytes));
    socket.on('end', () => socket.destroy()); // without a word more, the client can end no call and open no window
    socket.on('error', () => {}); // 'close' follows
    socket.on('close', () => this.#closed());
    this.#greet();
  }

  /** Ends a stream that can send no answer, or none any more. */
  reset(stream: Stream, code: Http2Code): void {
    if (this.#streams.get(stream.id) !== stream) return;
    this.#wire.write(rstStream(stream.id, code));
    this.#forget(stream);
  }

  /** Called when the last of a stream is sent. A client that still sends is notified that it need not. */
  finished(stream: Stream): void {
    if (!stream.isClosedByPeer) this.reset(stream, Http2Code.noError);
    else this.#forget(stream);
  }

  /** The call of the stream runs no more. */
  settled(stream: Stream): void {
    stream.isBusy = false;
    if (this.#streams.get(stream.id) !== stream) this.#abandoned -= 1;
  }

  /** Takes no new request, and ends when the streams have. */
  close(): void {
    if (this.#isClosed || this.#lastServed !== undefined) return;
    this.#lastServed = this.#lastStream;
    this.#wire.write(goAway(this.#lastServed, Http2Code.noError, 'the server ends'));
    this.#endIfDone();
  }

  /** Ends the connection, whatever runs. */
  destroy(): void {
    this.#wire.destroy();
  }

  #greet(): void {
    this.#wire.write(
      settings([
        [Setting.maxConcurrentStreams, this.#options.maxStreams],
        [Setting.initialWindowSize, STREAM_WINDOW],
        [Setting.maxHeaderListSize, MAX_HEADERS],
      ]),
    );
    this.#wire.write(windowUpdate(0, CONNECTION_WINDOW - DEFAULT_WINDOW));
  }

  #receive(bytes: Buffer): void {
    if (this.#isClosed) return;
    this.#reader.push(bytes);
    try {
      for (let next = this.#reader.next(); next && !this.#isClosed; next = this.#reader.next())
        this.#frame(next);
    } catch (error) {
      const isTheirs = error instanceof ConnectionError;
      this.#fail(isTheirs ? error.code : Http2Code.internalError, String(error));
      if (!isTheirs) throw error;
    }
  }

  #frame(next: Frame): void {
    if (this.#settingsCount === 0 && next.type !== FrameType.settings)
      throw new ConnectionError(Http2Code.protocolError, 'a frame before the settings');
    if (this.#block) {
      if (next.type !== FrameType.continuation || next.stream !== this.#block.stream)
        throw new ConnectionError(Http2Code.protocolError, 'a frame amid a header block');
      this.#headers(this.#block.add(next));
      return;
    }
    if (next.type === FrameType.data) this.#data(next);
    else if (next.type === FrameType.headers) this.#headers(HeaderBlock.of(next, MAX_HEADERS));
    else if (next.type === FrameType.windowUpdate) this.#windowUpdate(next);
    else if (next.type === FrameType.ping) this.#ping(next);
    else if (next.type === FrameType.rstStream) this.#rstStream(next);
    else if (next.type === FrameType.settings) this.#settings(next);
    else if (next.type === FrameType.pushPromise || next.type === FrameType.continuation)
      throw new ConnectionError(Http2Code.protocolError, `a frame of type ${next.type}`);
    // PRIORITY and GOAWAY ask for nothing; types that are not known are ignored (section 4.1).
  }

  /** Windows are reopened as data arrives, by halves, so a client cannot exceed them: what is held is limited by the calls. */
  #data(next: Frame): void {
    const size = next.payload.length;
    if (next.stream === 0 || next.stream > this.#lastStream)
      throw new ConnectionError(Http2Code.protocolError, `data on stream ${next.stream}`);
    this.#received += size;
    if (this.#received >= CONNECTION_WINDOW / 2) {
      this.#wire.write(windowUpdate(0, this.#received));
      this.#received = 0;
    }
    const stream = this.#streams.get(next.stream);
    if (!stream) return; // it has ended meanwhile
    const bytes = unpadded(next);
    if (stream.isClosedByPeer) {
      this.#abort(stream, Http2Code.streamClosed);
      return;
    }
    stream.isClosedByPeer = (next.flags & Flag.endStream) !== 0;
    stream.received += size;
    if (!stream.isClosedByPeer && stream.received >= STREAM_WINDOW / 2) {
      this.#wire.write(windowUpdate(stream.id, stream.received));
      stream.received = 0;
    }
    stream.events.onData(bytes, stream.isClosedByPeer);
  }

  #headers(block: HeaderBlock): void {
    this.#block = block.isWhole ? undefined : block;
    if (!block.isWhole) return;
    const fields = this.#decoder.decode(block.bytes);
    const { stream: id, isLast } = block;
    const known = this.#streams.get(id);
    if (known) {
      if (known.isClosedByPeer || !isLast) {
        this.#abort(known, known.isClosedByPeer ? Http2Code.streamClosed : Http2Code.protocolError);
        return;
      }
      known.isClosedByPeer = true;
      known.events.onData(Buffer.alloc(0), true);
      return;
    }
    if (id <= this.#lastStream) return; // trailers of one that has ended meanwhile
    this.#lastStream = id;
    if (this.#lastServed !== undefined) return; // as the GOAWAY has announced
    const stream = new Stream(id, this.out.initialWindow);
    stream.isClosedByPeer = isLast;
    this.#streams.set(id, stream);
    // Counted apart: a client may open a stream as soon as it has reset one, whose call ends a moment later.
    if (Math.max(this.#streams.size, this.#abandoned + 1) > this.#options.maxStreams)
      this.reset(stream, Http2Code.refusedStream);
    else if (!fields) this.reset(stream, Http2Code.enhanceYourCalm);
    else {
      this.#options.onRequest(stream, fields, this);
      if (isLast) stream.events.onData(Buffer.alloc(0), true);
    }
  }

  #windowUpdate({ stream: id, payload }: Frame): void {
    if (payload.length !== 4) throw new ConnectionError(Http2Code.frameSizeError, 'a WINDOW_UPDATE');
    const bytes = payload.readUInt32BE() & 0x7fffffff;
    const stream = this.#streams.get(id);
    if (id !== 0 && !stream) {
      this.#requireKnown(id);
      return;
    }
    if (bytes === 0) throw new ConnectionError(Http2Code.protocolError, 'a WINDOW_UPDATE of 0');
    this.out.grow(stream?.out, bytes);
  }

  #ping({ stream, flags, payload }: Frame): void {
    if (stream !== 0) throw new ConnectionError(Http2Code.protocolError, 'PING on a stream');
    if (payload.length !== 8) throw new ConnectionError(Http2Code.frameSizeError, 'a PING');
    if (!(flags & Flag.ack)) this.#wire.write(frame(FrameType.ping, Flag.ack, 0, payload));
  }

  #rstStream({ stream: id, payload }: Frame): void {
    if (payload.length !== 4) throw new ConnectionError(Http2Code.frameSizeError, 'an RST_STREAM');
    const stream = this.#streams.get(id);
    if (!stream) {
      this.#requireKnown(id);
      return;
    }
    stream.events.onReset();
    this.#forget(stream);
  }

  #settings(next: Frame): void {
    if (next.stream !== 0) throw new ConnectionError(Http2Code.protocolError, 'SETTINGS on a stream');
    if (next.flags & Flag.ack) {
      if (next.payload.length > 0) throw new ConnectionError(Http2Code.frameSizeError, 'SETTINGS with ACK');
      return;
    }
    this.#settingsCount += 1;
    if (this.#settingsCount > MAX_SETTINGS)
      throw new ConnectionError(Http2Code.enhanceYourCalm, `settings for the ${MAX_SETTINGS}th time`);
    clearTimeout(this.#handshake);
    // First: the client counts by its new windows from here on, and what they let out comes behind it.
    this.#wire.write(frame(FrameType.settings, Flag.ack, 0, Buffer.alloc(0)));
    applySettings(next.payload, this.out, () => this.#streams.values().map(({ out }) => out));
  }

  #requireKnown(id: number): void {
    if (id === 0 || id > this.#lastStream)
      throw new ConnectionError(Http2Code.protocolError, `a frame of stream ${id}, which is not open`);
  }

  /** Ends a stream whose client broke a rule. */
  #abort(stream: Stream, code: Http2Code): void {
    stream.events.onReset();
    this.reset(stream, code);
  }

  #forget(stream: Stream): void {
    this.#streams.delete(stream.id);
    if (stream.isBusy) this.#abandoned += 1;
    this.out.drop(stream.out);
    this.#endIfDone();
  }

  #endIfDone(): void {
    if (this.#lastServed === undefined || this.#streams.size > 0 || this.#isClosed) return;
    this.#isClosed = true;
    this.#wire.end(false);
  }

  #fail(code: Http2Code, why: string): void {
    this.#wire.write(goAway(this.#lastServed ?? this.#lastStream, code, why)); // not more than was announced before
    this.#isClosed = true;
    this.#wire.end(true);
    this.#closed();
  }

  #closed(): void {
    this.#isClosed = true;
    clearTimeout(this.#handshake);
    const streams = [...this.#streams.values()];
    this.#streams.clear();
    for (const stream of streams) {
      if (stream.isBusy) this.#abandoned += 1;
      stream.events.onReset();
    }
    for (const stream of streams) this.out.drop(stream.out);
    this.#options.onClose(this);
  }
}
