/**
 * What is to be sent on the streams of one connection, as far as its flow control lets it (RFC 9113, section 5.2): a frame of each
 * stream in turn, so that a long list does not hold up the short replies beside it.
 */
import {
  ConnectionError,
  DEFAULT_FRAME_SIZE,
  DEFAULT_WINDOW,
  Flag,
  FRAME_HEADER,
  FrameType,
  frame,
  Http2Code,
  MAX_WINDOW,
  putFrameHeader,
} from './frames.ts';

/** The sending side of a stream. */
export class Outgoing {
  readonly id: number;
  /** Bytes that the peer takes; below 0 after it has made its windows smaller. */
  window: number;
  /** Bytes that wait. */
  size = 0;
  readonly pieces: Buffer[] = [];
  /** It waits for its turn. */
  hasTurn = false;
  /** The header block that ends the stream, once all is sent. */
  trailers: Buffer | undefined;
  /** Called when all that waited is sent. */
  onDrain: (() => void) | undefined;
  /** Called when the trailers are sent. */
  onEnd: (() => void) | undefined;

  constructor(id: number, window: number) {
    this.id = id;
    this.window = window;
  }
}

/** Where the bytes go: the socket. */
export interface Sink {
  write(bytes: Buffer): void;
  /** Whether the peer does not read what is written: nothing more is written until `pump` is called. */
  readonly isFull: boolean;
}

export class SendQueue {
  readonly #sink: Sink;
  /** Those that have data to send and a window for it; first the one whose turn it is. */
  readonly #turns: Outgoing[] = [];
  #window = DEFAULT_WINDOW;
  #maxFrame = DEFAULT_FRAME_SIZE;
  #size = 0;
  /** The window of new streams. */
  initialWindow = DEFAULT_WINDOW;
  /** Called when data was sent or dropped. */
  onSent: (() => void) | undefined;
  /** Sent before the next header block: a peer that made the table smaller waits for it (RFC 7541, section 4.2). */
  mustResizeTable = false;

  constructor(sink: Sink) {
    this.#sink = sink;
  }

  /** Bytes that wait, of all streams. */
  get size(): number {
    return this.#size;
  }

  set maxFrame(bytes: number) {
    this.#maxFrame = bytes;
  }

  /** Sends a header block at once: flow control is for data alone. */
  headers(stream: Outgoing, fields: Buffer, flags = 0): void {
    const block = this.#withTable(fields);
    for (let at = 0, first = true; first || at < block.length; at += this.#maxFrame, first = false) {
      const piece = block.subarray(at, at + this.#maxFrame);
      const last = at + this.#maxFrame >= block.length ? Flag.endHeaders : 0;
      const type = first ? FrameType.headers : FrameType.continuation;
      this.#sink.write(frame(type, last | (first ? flags : 0), stream.id, piece));
    }
  }

  /**
   * Headers, data and trailers in one piece of bytes, where the windows and the frame size let it: most replies. Otherwise
   * returns false and has sent nothing.
   */
  sendWhole(stream: Outgoing, headers: Buffer, data: readonly Buffer[], trailers: Buffer): boolean {
    let size = 0;
    for (const piece of data) size += piece.length;
    const isFree = this.#size === 0 && !this.#sink.isFull && !this.mustResizeTable;
    if (!isFree || size > this.#maxFrame || size > this.#window || size > stream.window) return false;
    this.#window -= size;
    const { id } = stream;
    const bytes = Buffer.allocUnsafe(3 * FRAME_HEADER + headers.length + size + trailers.length);
    let at = putFrameHeader(bytes, 0, headers.length, FrameType.headers, Flag.endHeaders, id);
    at += headers.copy(bytes, at);
    at = putFrameHeader(bytes, at, size, FrameType.data, 0, id);
    for (const piece of data) at += piece.copy(bytes, at);
    const end = Flag.endHeaders | Flag.endStream;
    at = putFrameHeader(bytes, at, trailers.length, FrameType.headers, end, id);
    trailers.copy(bytes, at);
    this.#sink.write(bytes);
    return true;
  }

  /** Queues data. */
  push(stream: Outgoing, ...pieces: readonly Buffer[]): void {
    for (const piece of pieces) {
      stream.pieces.push(piece);
      stream.size += piece.length;
      this.#size += piece.length;
    }
    this.#enter(stream);
    this.pump();
  }

  /** Ends the stream with this header block behind what waits. */
  end(stream: Outgoing, trailers: Buffer): void {
    stream.trailers = trailers;
    if (stream.size === 0) this.#drained(stream);
  }

  /** Drops what waits: the stream has ended. */
  drop(stream: Outgoing): void {
    this.#size -= stream.size;
    stream.size = 0;
    stream.pieces.length = 0;
    stream.trailers = undefined;
    this.onSent?.();
  }

  /** The peer takes more data, on one stream or on the connection. Throws ConnectionError where the sum is too large. */
  grow(stream: Outgoing | undefined, bytes: number): void {
    if (stream) this.#widen(stream, bytes);
    else this.#window = checked(this.#window + bytes);
    this.pump();
  }

  /** The peer has another window for each stream: what open ones may send changes by the difference (section 6.9.2). */
  resize(initialWindow: number, open: Iterable<Outgoing>): void {
    const difference = initialWindow - this.initialWindow;
    this.initialWindow = initialWindow;
    if (difference === 0) return;
    for (const stream of open) this.#widen(stream, difference);
    this.pump();
  }

  /** Sends what may be sent. */
  pump(): void {
    while (this.#window > 0 && !this.#sink.isFull) {
      const stream = this.#turns.shift();
      if (!stream) break;
      stream.hasTurn = false;
      if (stream.size === 0 || stream.window <= 0) continue; // it was dropped, or the peer has made its window smaller
      this.#sendFrame(stream);
      if (stream.size === 0) this.#drained(stream);
      else this.#enter(stream); // behind the others
    }
    this.onSent?.();
  }

  #widen(stream: Outgoing, bytes: number): void {
    stream.window = checked(stream.window + bytes);
    this.#enter(stream);
  }

  #drained(stream: Outgoing): void {
    if (!stream.trailers) {
      stream.onDrain?.();
      return;
    }
    this.headers(stream, stream.trailers, Flag.endStream);
    stream.trailers = undefined;
    stream.onEnd?.();
  }

  #enter(stream: Outgoing): void {
    if (stream.hasTurn || stream.size === 0 || stream.window <= 0) return;
    stream.hasTurn = true;
    this.#turns.push(stream);
  }

  #sendFrame(stream: Outgoing): void {
    const size = Math.min(stream.size, stream.window, this.#window, this.#maxFrame);
    const bytes = Buffer.allocUnsafe(FRAME_HEADER + size);
    let at = putFrameHeader(bytes, 0, size, FrameType.data, 0, stream.id);
    const { pieces } = stream;
    let used = 0;
    while (at < bytes.length) {
      const piece = pieces[used] as Buffer;
      const copied = piece.copy(bytes, at);
      at += copied;
      if (copied === piece.length) used += 1;
      else pieces[used] = piece.subarray(copied);
    }
    pieces.splice(0, used);
    stream.size -= size;
    stream.window -= size;
    this.#window -= size;
    this.#size -= size;
    this.#sink.write(bytes);
  }

  #withTable(fields: Buffer): Buffer {
    if (!this.mustResizeTable) return fields;
    this.mustResizeTable = false;
    return Buffer.concat([Buffer.from([0x20]), fields]); // a table of 0 bytes: none is used
  }
}

function checked(window: number): number {
  if (window <= MAX_WINDOW) return window;
  throw new ConnectionError(Http2Code.flowControlError, 'a window of more than 2^31 - 1 bytes');
}
