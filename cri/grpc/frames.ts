/** The frames of HTTP/2 (RFC 9113, section 4 and 6): cut from a stream of bytes, and written. */

export const FrameType = {
  data: 0,
  headers: 1,
  priority: 2,
  rstStream: 3,
  settings: 4,
  pushPromise: 5,
  ping: 6,
  goAway: 7,
  windowUpdate: 8,
  continuation: 9,
} as const;

export const Flag = { endStream: 0x1, ack: 0x1, endHeaders: 0x4, padded: 0x8, priority: 0x20 } as const;

/** RFC 9113, section 7. */
export const Http2Code = {
  noError: 0,
  protocolError: 1,
  internalError: 2,
  flowControlError: 3,
  streamClosed: 5,
  frameSizeError: 6,
  refusedStream: 7,
  cancel: 8,
  compressionError: 9,
  enhanceYourCalm: 11,
} as const;
export type Http2Code = (typeof Http2Code)[keyof typeof Http2Code];

/** RFC 9113, section 6.5.2. */
export const Setting = {
  headerTableSize: 1,
  enablePush: 2,
  maxConcurrentStreams: 3,
  initialWindowSize: 4,
  maxFrameSize: 5,
  maxHeaderListSize: 6,
} as const;

export const FRAME_HEADER = 9;
/** The smallest limit that a peer may set, and the one before its settings; crisp leaves its own at this. */
export const DEFAULT_FRAME_SIZE = 1 << 14;
/** Of a stream and of the connection, before settings. */
export const DEFAULT_WINDOW = 65_535;
export const MAX_WINDOW = 2 ** 31 - 1;
/** What a client sends first (section 3.4). */
export const PREFACE = Buffer.from('PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n', 'latin1');

/** The connection cannot go on: it is ended with GOAWAY of this code. */
export class ConnectionError extends Error {
  readonly code: Http2Code;

  constructor(code: Http2Code, message: string) {
    super(message);
    this.code = code;
  }
}

export interface Frame {
  readonly type: number;
  readonly flags: number;
  readonly stream: number;
  /** A view of the bytes that were received. */
  readonly payload: Buffer;
}

/** Cuts received bytes, in pieces of any size, into frames. */
export class FrameReader {
  #pieces: Buffer[] = [];
  #length = 0;
  #hasPreface: boolean;
  /** Bytes without which no further frame is whole. */
  #needed: number;

  /** `isServer`: the preface of a client comes first. */
  constructor(isServer = true) {
    this.#hasPreface = !isServer;
    this.#needed = isServer ? PREFACE.length : FRAME_HEADER;
  }

  push(piece: Buffer): void {
    this.#pieces.push(piece);
    this.#length += piece.length;
  }

  /** The next whole frame. Throws ConnectionError where the preface is not HTTP/2's or a frame is larger than it may be. */
  next(): Frame | undefined {
    if (this.#length < this.#needed) return undefined;
    if (!this.#hasPreface) this.#takePreface();
    if (!this.#has(FRAME_HEADER)) return undefined;
    const bytes = this.#joined();
    const size = bytes.readUIntBE(0, 3);
    if (size > DEFAULT_FRAME_SIZE)
      throw new ConnectionError(Http2Code.frameSizeError, `a frame of ${size} bytes`);
    if (!this.#has(FRAME_HEADER + size)) return undefined;
    const whole = this.#joined();
    this.#drop(whole, FRAME_HEADER + size);
    this.#needed = FRAME_HEADER;
    return {
      type: whole[3] as number,
      flags: whole[4] as number,
      stream: whole.readUInt32BE(5) & MAX_WINDOW,
      payload: whole.subarray(FRAME_HEADER, FRAME_HEADER + size),
    };
  }

  #takePreface(): void {
    const bytes = this.#joined();
    if (bytes.compare(PREFACE, 0, PREFACE.length, 0, PREFACE.length) !== 0)
      throw new ConnectionError(Http2Code.protocolError, 'the client does not speak HTTP/2');
    this.#hasPreface = true;
    this.#drop(bytes, PREFACE.length);
  }

  #has(needed: number): boolean {
    this.#needed = needed;
    return this.#length >= needed;
  }

  /** Joins pieces only when there is enough for what is waited for, so that bytes are not copied for each piece. */
  #joined(): Buffer {
    if (this.#pieces.length > 1) this.#pieces = [Buffer.concat(this.#pieces, this.#length)];
    return this.#pieces[0] as Buffer;
  }

  #drop(bytes: Buffer, count: number): void {
    this.#length -= count;
    this.#pieces = this.#length > 0 ? [bytes.subarray(count)] : [];
  }
}

/** Writes a frame header at `at` and returns where the payload begins. */
export function putFrameHeader(
  into: Buffer,
  at: number,
  size: number,
  type: number,
  flags: number,
  stream: number,
): number {
  into.writeUIntBE(size, at, 3);
  into[at + 3] = type;
  into[at + 4] = flags;
  into.writeUInt32BE(stream, at + 5);
  return at + FRAME_HEADER;
}

/** A whole frame in bytes of its own. */
export function frame(type: number, flags: number, stream: number, payload: Buffer): Buffer {
  const bytes = Buffer.allocUnsafe(FRAME_HEADER + payload.length);
  payload.copy(bytes, putFrameHeader(bytes, 0, payload.length, type, flags, stream));
  return bytes;
}

const word = (value: number): Buffer => {
  const bytes = Buffer.allocUnsafe(4);
  bytes.writeUInt32BE(value);
  return bytes;
};

export const rstStream = (stream: number, code: Http2Code): Buffer =>
  frame(FrameType.rstStream, 0, stream, word(code));

export const windowUpdate = (stream: number, bytes: number): Buffer =>
  frame(FrameType.windowUpdate, 0, stream, word(bytes));

export const goAway = (lastStream: number, code: Http2Code, why: string): Buffer =>
  frame(FrameType.goAway, 0, 0, Buffer.concat([word(lastStream), word(code), Buffer.from(why)]));

export function settings(values: readonly (readonly [number, number])[]): Buffer {
  const payload = Buffer.alloc(values.length * 6);
  for (const [index, [id, value]] of values.entries()) {
    payload.writeUInt16BE(id, index * 6);
    payload.writeUInt32BE(value, index * 6 + 2);
  }
  return frame(FrameType.settings, 0, 0, payload);
}
