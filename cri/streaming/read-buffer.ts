/**
 * Reads of a socket into one reused buffer. By default streams allocate a buffer for each read; that costs more than
 * forwarding the bytes, for it keeps the garbage collector busy with the whole heap.
 */
import { type OnReadOpts, Socket } from 'node:net';
import type { Duplex, Writable } from 'node:stream';

const BUFFER_BYTES = 128 << 10;

/**
 * Receives bytes that are valid only during the call. To keep them, copy them or return true: then the buffer belongs to
 * the callee, and the next read gets another one.
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
 * Writes bytes of a reused buffer; true if they are kept, since the sink has not taken all of them at once. If the sink
 * has queued bytes already, they are copied: few bytes must not retain many large buffers.
 */
export function writeReusedBuffer(sink: Writable, bytes: Buffer): boolean {
  const queued = sink.writableLength > 0;
  sink.write(queued ? Buffer.from(bytes) : bytes);
  return !queued && sink.writableLength > 0;
}

/** Passes on what is read, in a reused buffer if the connection has one; returns a function that drops later reads. */
export function takeReads(source: Duplex, take: ReadCallback): () => void {
  if (source instanceof BufferedSocket) {
    source.readInto(take);
    return () => source.readInto(() => false);
  }
  source.on('data', take);
  return () => source.off('data', take);
}

/** A connection with a reused read buffer; it emits no data events. It is paused and resumed like any other. */
export class BufferedSocket extends Socket {
  readonly #consumer: { take: ReadCallback };

  private constructor(handle: object) {
    const consumer: { take: ReadCallback } = { take: () => true };
    const onread = reusedBufferReads((bytes) => consumer.take(bytes));
    super({ handle, allowHalfOpen: true, onread } as ConstructorParameters<typeof Socket>[0]);
    this.#consumer = consumer;
    this.pause();
  }

  /** Starts reading into the callback. */
  readInto(take: ReadCallback): void {
    this.#consumer.take = take;
    this.resume();
  }

  /**
   * The connection of a socket without unread data. The old socket closes with this one, and this one
   * with the old. The read mode of a Node socket cannot be changed later, but its handle can be moved to another socket, as
   * between the processes of a cluster; where there is no such handle (TLS) the socket is returned as it is.
   */
  static of(socket: Duplex): Duplex {
    const { _handle: handle } = socket as { _handle?: { useUserBuffer?: unknown } | null };
    if (!(socket instanceof Socket) || socket.constructor !== Socket) return socket;
    if (!handle || typeof handle.useUserBuffer !== 'function' || socket.readableLength > 0) return socket;
    const buffered = new BufferedSocket(handle);
    Object.assign(socket, { _handle: null });
    buffered.setTimeout(socket.timeout ?? 0, () => socket.emit('timeout'));
    socket.setTimeout(0);
    buffered.on('error', () => {}); // the close event that follows reports it
    buffered.once('close', () => socket.destroy());
    socket.once('close', () => buffered.destroy());
    return buffered;
  }
}
