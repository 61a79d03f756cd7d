import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { CrispError, errnoOf } from '#core/errors.ts';
import { readFully } from '#linux/fs/at-syscalls.ts';
import { damaged } from './entry.ts';
import { ZstdFrames } from './zstd.ts';

/** Larger chunks than zlib's default of 16 KiB nearly double its speed. */
const CHUNK = 1 << 20;

export type Compression = 'gzip' | 'zstd' | 'none';

/** By the first bytes: media types are often wrong, magic numbers are not. */
export function compressionOf(first: Uint8Array): Compression {
  const word = first.length < 4 ? 0 : Buffer.from(first.subarray(0, 4)).readUInt32LE(0);
  if ((word & 0xffff) === 0x8b1f) return 'gzip';
  if (word === 0xfd2fb528 || (word & 0xfffffff0) >>> 0 === 0x184d2a50) return 'zstd';
  return 'none';
}

/** Reads the file, decompresses it and passes each piece to `sink`, which works synchronously. */
export async function decompress(
  fd: number,
  sink: (piece: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const first = Buffer.alloc(4);
  readFully(fd, first, 0);
  const compression = compressionOf(first);
  if (compression === 'none') return plain(fd, sink, signal);
  const frames = compression === 'zstd' ? new ZstdFrames() : undefined;
  const source = Readable.from(frames ? splitFrames(chunks(fd), frames) : chunks(fd), { highWaterMark: 2 });
  const through = frames ? createZstdDecompress({ chunkSize: CHUNK }) : createGunzip({ chunkSize: CHUNK });
  try {
    await pipeline(
      source,
      through,
      async (pieces: AsyncIterable<Buffer>) => {
        for await (const piece of pieces) sink(piece);
      },
      { signal },
    );
  } catch (error) {
    throw zlibError(error, compression);
  }
  if (frames && !frames.complete) throw damaged('the zstd stream is truncated');
}

async function plain(fd: number, sink: (piece: Buffer) => void, signal: AbortSignal): Promise<void> {
  for (const chunk of chunks(fd)) {
    sink(chunk);
    // Lets the event loop run, so that a cancellation is received.
    await new Promise(setImmediate);
    signal.throwIfAborted();
  }
}

function* chunks(fd: number): Generator<Buffer> {
  for (let at = 0; ; ) {
    const chunk = Buffer.allocUnsafe(CHUNK / 4);
    const read = readFully(fd, chunk, at);
    if (read > 0) yield chunk.subarray(0, read);
    if (read < chunk.length) return;
    at += read;
  }
}

function* splitFrames(source: Iterable<Buffer>, frames: ZstdFrames): Generator<Buffer> {
  for (const chunk of source) yield* frames.push(chunk);
}

/** The error for the input of a decompressor. */
export function zlibError(error: unknown, compression: Compression): unknown {
  const code = errnoOf(error) ?? '';
  if (error instanceof CrispError) return error;
  if (code === 'Z_BUF_ERROR') return damaged(`the ${compression} stream is truncated`);
  if (code.startsWith('Z_') || code.startsWith('ZSTD_')) {
    const message = error instanceof Error ? error.message : code;
    return damaged(`the ${compression} stream is damaged: ${message}`);
  }
  return error;
}
