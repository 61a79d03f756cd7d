/**
 * Reads of a socket into one buffer that is used again and again. A new one for each read is what streams do by
 * themselves; it costs more than the way of the bytes does, for it keeps the garbage collector busy with the whole heap.
 */
import { type OnReadOpts, Socket } from 'node:net';
import type { Duplex, Writable } from 'node:stream';

const BUFFER_BYTES = 128 << 10;

/**
 * Takes bytes that are its own during the call alone; whoever needs them for longer copies them, or returns true: then
 * the buffer is its own from now on, and the next read gets another.
 */
export type ReadCallback = (bytes: Buffer) => boolean;

/** For the socket's option `onread`. */
export function reusedBufferReads(take: ReadCallback): OnReadOpts {
  let buffer: Buffer | undefined;
  return {
    buffer: () => {
      buffer ??= Buffer.allocUnsafeSlow(BUFFER_BYTES);
      return buffer;
    },
    callback: (count, bytes) => {
      if (take(Buffer.from(bytes.buffer, bytes.byteOffset, count))) buffer = undefined;
      return true;
    },
  };
}

/**
 * Writes borrowed bytes; true where they are kept, since the sink has not taken all of them at once. Where something
 * waits before them already, they are copied: few bytes must not hold many large buffers.
 */
export function writeReusedBuffer(sink: Writable, bytes: Buffer): boolean {
  const waits = sink.writableLength > 0;
  sink.write(waits ? Buffer.from(bytes) : bytes);
  return !waits && sink.writableLength > 0;
}

/** Hands on what comes, lent where the connection lends; returns how to drop what still comes. */
export function takeReads(source: Duplex, take: ReadCallback): () => void {
  if (source instanceof BufferedSocket) {
    source.lendTo(take);
    return () => source.lendTo(() => false);
  }
  source.on('data', take);
  return () => source.off('data', take);
}

/** A connection that lends what it reads; nothing comes by events. It is paused and resumed as any other. */
export class BufferedSocket extends Socket {
  readonly #borrower: { take: ReadCallback };

  private constructor(handle: object) {
    const borrower: { take: ReadCallback } = { take: () => true };
    const onread = reusedBufferReads((bytes) => borrower.take(bytes));
    super({ handle, allowHalfOpen: true, onread } as ConstructorParameters<typeof Socket>[0]);
    this.#borrower = borrower;
    this.pause();
  }

  /** From now on it is read. */
  lendTo(take: ReadCallback): void {
    this.#borrower.take = take;
    this.resume();
  }

  /**
   * The connection of a socket on which nothing has come but what was read already. The old socket goes when this one
   * does, and this one with the old. Node's sockets cannot be told later how to read, but their handles pass on, as they
   * do between the processes of a cluster; where there is no such handle (TLS) the socket is returned as it is.
   */
  static of(socket: Duplex): Duplex {
    const { _handle: handle } = socket as { _handle?: { useUserBuffer?: unknown } | null };
    if (!(socket instanceof Socket) || socket.constructor !== Socket) return socket;
    if (!handle || typeof handle.useUserBuffer !== 'function' || socket.readableLength > 0) return socket;
    const lending = new BufferedSocket(handle);
    Object.assign(socket, { _handle: null });
    lending.setTimeout(socket.timeout ?? 0, () => socket.emit('timeout'));
    socket.setTimeout(0);
    lending.on('error', () => {}); // the close that follows tells whoever uses it
    lending.once('close', () => socket.destroy());
    socket.once('close', () => lending.destroy());
    return lending;
  }
}
