import type { OnReadOpts, Socket } from 'node:net';
import type { Writable } from 'node:stream';

/** Bytes of one read at most. */
const SIZE = 256 << 10;

/**
 * One buffer that connections read into, for all of a thread: by itself Node takes 64 KiB of new memory for each read. The client gets
 * a view of it only during the body of a response that copies what it is given; all else, which the client may keep, is copied here.
 */
export class ReadBuffer {
  /** For the options of a connection, which must be attached. */
  readonly onread: OnReadOpts;
  readonly #connections = new WeakMap<Socket, Connection>();
  /** The connection whose bytes the client is reading. */
  #delivering: Connection | undefined;

  constructor(size = SIZE) {
    const deliver = (socket: Socket, bytes: Buffer) => this.#deliver(socket, bytes);
    this.onread = {
      buffer: Buffer.allocUnsafeSlow(size),
      callback(this: Socket, count: number, buffer: Uint8Array) {
        return deliver(this, Buffer.from(buffer.buffer, buffer.byteOffset, count));
      },
    };
  }

  /** To be called before the first byte arrives. */
  attach(socket: Socket): void {
    this.#connections.set(socket, new Connection(socket));
  }

  /**
   * From now until the end of this body its connection's bytes are not copied. To be called where the client reads the response's head.
   * Elsewhere it has no effect.
   */
  lend(body: Writable): void {
    this.#delivering?.lend(body);
  }

  #deliver(socket: Socket, bytes: Buffer): boolean {
    const connection = this.#connections.get(socket);
    if (!connection) return socket.push(Buffer.from(bytes));
    this.#delivering = connection;
    try {
      return connection.deliver(bytes);
    } finally {
      this.#delivering = undefined;
    }
  }
}

/** A connection whose client reads by `read()` at `readable`, as undici does. */
class Connection {
  readonly #socket: Socket;
  #piece: Buffer | undefined;
  /** Whether the client has read until there was nothing left. */
  #isDrained = false;
  #body: Writable | undefined;

  constructor(socket: Socket) {
    this.#socket = socket;
    const [read, unshift] = [socket.read.bind(socket), socket.unshift.bind(socket)];
    socket.read = (size?: number) => {
      const piece = this.#piece;
      if (piece !== undefined && size === undefined) {
        this.#piece = undefined;
        return piece;
      }
      const next: unknown = read(size);
      this.#isDrained = next === null;
      return next;
    };
    // What the client has not used of a piece.
    socket.unshift = (piece: Uint8Array) => unshift(Buffer.from(piece));
  }

  lend(body: Writable): void {
    this.#body = body;
  }

  /** Returns false where no more is to be read until the client reads again. */
  deliver(bytes: Buffer): boolean {
    const socket = this.#socket;
    if (socket.readableLength > 0) return socket.push(Buffer.from(bytes));
    const isLent = this.#body !== undefined && !this.#body.writableEnded && !this.#body.destroyed;
    this.#piece = isLent ? bytes : Buffer.from(bytes);
    this.#isDrained = false;
    socket.emit('readable');
    const left = this.#piece;
    if (left === undefined) return this.#isDrained;
    this.#piece = undefined;
    socket.push(Buffer.from(left)); // the client waits, or there is none yet
    return false;
  }
}
