/** Frames of SPDY/3.1 as bytes. A data frame's payload is passed on as it arrives, a control frame as a whole. */
import { SpdyProtocolError } from './headers.ts';

export const SYN_STREAM = 1;
export const SYN_REPLY = 2;
export const RST_STREAM = 3;
export const SETTINGS = 4;
export const PING = 6;
export const GOAWAY = 7;
export const HEADERS = 8;
export const WINDOW_UPDATE = 9;

export const FLAG_FIN = 1;
export const FLAG_UNIDIRECTIONAL = 2;

/** Status codes of RST_STREAM. */
export const RST = { protocolError: 1, refused: 3, cancel: 5, internalError: 6, streamInUse: 8 } as const;
/** Status codes of GOAWAY. */
export const GOAWAY_STATUS = { ok: 0, protocolError: 1 } as const;

/** Number of the setting of the bytes that a peer accepts before a WINDOW_UPDATE. */
export const SETTING_INITIAL_WINDOW = 7;
export const INITIAL_WINDOW = 64 << 10;

/** Minimum payload bytes of each type. */
export const MINIMUM_BYTES: Readonly<Record<number, number>> = {
  [SYN_STREAM]: 10,
  [SYN_REPLY]: 4,
  [RST_STREAM]: 8,
  [SETTINGS]: 4,
  [PING]: 4,
  [HEADERS]: 4,
  [WINDOW_UPDATE]: 8,
};

const VERSION = 3;
/** A control frame has at most compressed headers: far beyond what any client sends. */
const MAX_CONTROL_BYTES = 32 << 10;
const HEADER_BYTES = 8;
const MAX_DATA_BYTES = 0xff_ffff;

export interface ControlFrame {
  readonly kind: 'control';
  readonly type: number;
  readonly flags: number;
  readonly payload: Buffer;
}

/** A piece of a data frame; `last`: the frame is complete, and its flags count. */
export interface DataPiece {
  readonly kind: 'data';
  readonly stream: number;
  readonly bytes: Buffer;
  readonly fin: boolean;
}

/** Splits a byte stream into frames. It keeps none of the given bytes: only pieces of data frames refer to them. */
export class FrameReader {
  #header: Buffer = Buffer.alloc(0);
  #control: { type: number; flags: number; chunks: Buffer[]; left: number } | undefined;
  #data: { stream: number; fin: boolean; left: number } | undefined;

  /** The frames that the bytes complete, and pieces of data frames. Throws SpdyProtocolError. */
  *read(given: Buffer): Generator<ControlFrame | DataPiece> {
    let bytes = given;
    while (bytes.length > 0) {
      if (this.#data) {
        const piece = bytes.subarray(0, this.#data.left);
        bytes = bytes.subarray(piece.length);
        yield this.#piece(this.#data, piece);
      } else if (this.#control) {
        const piece = bytes.subarray(0, this.#control.left);
        bytes = bytes.subarray(piece.length);
        this.#control.chunks.push(Buffer.from(piece));
        this.#control.left -= piece.length;
        if (this.#control.left === 0) yield this.#complete();
      } else {
        const piece = bytes.subarray(0, HEADER_BYTES - this.#header.length);
        bytes = bytes.subarray(piece.length);
        const isWhole = piece.length === HEADER_BYTES;
        this.#header = isWhole ? piece : Buffer.concat([this.#header, piece]);
        if (this.#header.length < HEADER_BYTES) return;
        yield* this.#begin(this.#header);
        this.#header = Buffer.alloc(0);
      }
    }
  }

  *#begin(header: Buffer): Generator<ControlFrame | DataPiece> {
    const first = header.readUInt32BE(0);
    const flags = header[4] ?? 0;
    const left = header.readUInt32BE(4) & MAX_DATA_BYTES;
    if (first < 0x8000_0000) {
      const data = { stream: first, fin: (flags & FLAG_FIN) !== 0, left };
      this.#data = data;
      if (left === 0) yield this.#piece(data, Buffer.alloc(0));
      return;
    }
    const version = (first >>> 16) & 0x7fff;
    if (version !== VERSION)
      throw new SpdyProtocolError(`a frame of version ${version} where 3 was negotiated`);
    if (left > MAX_CONTROL_BYTES) throw new SpdyProtocolError(`a control frame of ${left} bytes`);
    this.#control = { type: first & 0xffff, flags, chunks: [], left };
    if (left === 0) yield this.#complete();
  }

  #piece(data: { stream: number; fin: boolean; left: number }, bytes: Buffer): DataPiece {
    data.left -= bytes.length;
    const last = data.left === 0;
    if (last) this.#data = undefined;
    return { kind: 'data', stream: data.stream, bytes, fin: last && data.fin };
  }

  #complete(): ControlFrame {
    const { type = 0, flags = 0, chunks = [] } = this.#control ?? {};
    this.#control = undefined;
    return { kind: 'control', type, flags, payload: Buffer.concat(chunks) };
  }
}

/** A control frame. */
export function controlFrame(type: number, flags: number, ...payload: readonly Uint8Array[]): Buffer {
  const length = payload.reduce((sum, part) => sum + part.length, 0);
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(0x8000_0000 + (VERSION << 16) + type, 0);
  header.writeUInt32BE(length, 4);
  header[4] = flags;
  return Buffer.concat([header, ...payload]);
}

/** Some numbers of 32 bits, as payloads have them. */
export function words(...values: readonly number[]): Buffer {
  const bytes = Buffer.alloc(4 * values.length);
  for (const [n, value] of values.entries()) bytes.writeUInt32BE(value, 4 * n);
  return bytes;
}

/** The initial windows that a SETTINGS frame sets: at most one, of a valid peer. Throws SpdyProtocolError. */
export function* initialWindows(payload: Buffer): Generator<number> {
  const end = 4 + 8 * payload.readUInt32BE(0);
  if (payload.length < end) throw new SpdyProtocolError('a SETTINGS frame is truncated');
  for (let at = 4; at < end; at += 8) {
    if ((payload.readUInt32BE(at) & 0xff_ffff) === SETTING_INITIAL_WINDOW)
      yield payload.readUInt32BE(at + 4) & 0x7fff_ffff;
  }
}

/** The header of a data frame with a payload of up to 16 MiB - 1. */
export function dataHeader(stream: number, length: number, fin: boolean): Buffer {
  const header = Buffer.alloc(HEADER_BYTES);
  header.writeUInt32BE(stream, 0);
  header.writeUInt32BE(length, 4);
  header[4] = fin ? FLAG_FIN : 0;
  return header;
}
