/**
 * The bytes of a connection: NRI's frames, each of which carries a piece of one of several connections, and in those the
 * messages of ttrpc.
 *
 * A frame is a header of 8 bytes, the connection's id and the length of what follows, both big-endian. A message is a header of
 * 10 bytes, the length of its data, its stream, type and flags, and the data (ttrpc's PROTOCOL.md). Frames need not begin or
 * end where messages do.
 */

/** On which the plugin serves. */
export const PLUGIN_SERVICE = 1;
/** On which the runtime serves. */
export const RUNTIME_SERVICE = 2;

export const MessageType = { request: 1, response: 2, data: 3 } as const;

const FRAME_HEADER = 8;
const MESSAGE_HEADER = 10;
/** Bytes of a message without its header. */
export const MAX_MESSAGE = 4 * 2 ** 20;
const MAX_FRAME = MESSAGE_HEADER + MAX_MESSAGE;
/**
 * The first frame of a message ends here at the latest: plugins in Go read a message's header into a buffer of this size, and read
 * nothing more when the frame is larger (seen with NRI 0.12). What is left of the message is one frame: they queue 256 at most.
 */
const FIRST_FRAME = 4096;

/** The other side has broken the protocol; the message says which rule, as in `a frame of …`. */
export class BrokenRule extends Error {}

export interface Message {
  readonly stream: number;
  readonly type: number;
  readonly data: Uint8Array;
}

/** Cuts received bytes into the pieces of the connections. */
export class FrameReader {
  readonly #header = Buffer.alloc(FRAME_HEADER);
  #headerBytes = 0;
  #connection = 0;
  /** Of the frame's payload. */
  #left = 0;

  /** Whether a frame has begun. */
  get isWithin(): boolean {
    return this.#headerBytes > 0 || this.#left > 0;
  }

  /** Throws BrokenRule. */
  *read(bytes: Buffer): Generator<{ readonly connection: number; readonly piece: Buffer }> {
    for (let at = 0; at < bytes.length; ) {
      if (this.#left === 0) {
        const copied = bytes.copy(this.#header, this.#headerBytes, at);
        at += copied;
        this.#headerBytes += copied;
        if (this.#headerBytes === FRAME_HEADER) this.#begin();
        continue;
      }
      const piece = bytes.subarray(at, at + this.#left);
      at += piece.length;
      this.#left -= piece.length;
      yield { connection: this.#connection, piece };
    }
  }

  #begin(): void {
    this.#headerBytes = 0;
    this.#connection = this.#header.readUInt32BE(0);
    this.#left = this.#header.readUInt32BE(4);
    if (this.#connection !== PLUGIN_SERVICE && this.#connection !== RUNTIME_SERVICE)
      throw new BrokenRule(
        `a frame for connection ${this.#connection}, where NRI has ${PLUGIN_SERVICE} and ${RUNTIME_SERVICE}`,
      );
    if (this.#left > MAX_FRAME)
      throw new BrokenRule(`a frame of ${this.#left} bytes, where NRI allows ${MAX_FRAME}`);
  }
}

/** Cuts the pieces of one connection into messages. */
export class MessageReader {
  readonly #header = Buffer.alloc(MESSAGE_HEADER);
  #headerBytes = 0;
  /** Of the message's data; -1 while the header is read. */
  #length = -1;
  /** Data that came before; grows with what arrives, not with what a header promises. */
  #data = Buffer.alloc(0);
  #dataBytes = 0;

  /** Whether a message has begun. */
  get isWithin(): boolean {
    return this.#headerBytes > 0;
  }

  /** Throws BrokenRule. */
  *read(piece: Buffer): Generator<Message> {
    for (let at = 0; at < piece.length; ) {
      if (this.#length < 0) {
        at += this.#readHeader(piece, at);
        if (this.#length !== 0) continue;
      }
      const more = piece.subarray(at, at + this.#length - this.#dataBytes);
      at += more.length;
      const data = this.#append(more);
      if (data) yield this.#end(data);
    }
  }

  #readHeader(piece: Buffer, at: number): number {
    const copied = piece.copy(this.#header, this.#headerBytes, at);
    this.#headerBytes += copied;
    if (this.#headerBytes === MESSAGE_HEADER) {
      this.#length = this.#header.readUInt32BE(0);
      if (this.#length > MAX_MESSAGE)
        throw new BrokenRule(`a message of ${this.#length} bytes, where ttrpc allows ${MAX_MESSAGE}`);
    }
    return copied;
  }

  /** The data when it is complete. */
  #append(more: Buffer): Buffer | undefined {
    if (this.#dataBytes === 0 && more.length === this.#length) return more;
    const total = this.#dataBytes + more.length;
    if (total > this.#data.length) {
      const grown = Buffer.allocUnsafe(Math.min(this.#length, Math.max(total, 2 * this.#data.length)));
      this.#data.copy(grown, 0, 0, this.#dataBytes);
      this.#data = grown;
    }
    more.copy(this.#data, this.#dataBytes);
    this.#dataBytes = total;
    return total === this.#length ? this.#data.subarray(0, total) : undefined;
  }

  #end(data: Buffer): Message {
    const message = { stream: this.#header.readUInt32BE(4), type: this.#header.readUInt8(8), data };
    this.#headerBytes = 0;
    this.#length = -1;
    this.#data = Buffer.alloc(0);
    this.#dataBytes = 0;
    return message;
  }
}

/** A message in the frames of a connection. `data` has at most MAX_MESSAGE bytes. */
export function framed(connection: number, { stream, type, data }: Message): Buffer {
  const total = MESSAGE_HEADER + data.length;
  const first = Math.min(total, FIRST_FRAME);
  const rest = total - first;
  const bytes = Buffer.allocUnsafe(total + FRAME_HEADER * (rest > 0 ? 2 : 1));
  let at = frameHeader(bytes, 0, connection, first);
  bytes.writeUInt32BE(data.length, at);
  bytes.writeUInt32BE(stream, at + 4);
  bytes.writeUInt8(type, at + 8);
  bytes.writeUInt8(0, at + 9); // the flags are for streams, which NRI has none of
  at += MESSAGE_HEADER;
  const cut = first - MESSAGE_HEADER;
  bytes.set(data.subarray(0, cut), at);
  if (rest > 0) bytes.set(data.subarray(cut), frameHeader(bytes, at + cut, connection, rest));
  return bytes;
}

/** Returns where the payload begins. */
function frameHeader(bytes: Buffer, at: number, connection: number, length: number): number {
  bytes.writeUInt32BE(connection, at);
  return bytes.writeUInt32BE(length, at + 4);
}
