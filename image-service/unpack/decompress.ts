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

/** Bytes that tell what an archive is compressed by. */
export const MAGIC_LENGTH = 10;

/** Throws Unimplemented for a compression that is known but not read: as a tar it would only be called damaged. */
export function refuseOtherCompression(first: Uint8Array): void {
  const text = Buffer.from(first).toString('latin1');
  // bzip2 by its whole magic: a name in an uncompressed archive may begin with `BZh`.
  const name = text.startsWith('\xfd7zXZ\0')
    ? 'xz'
    : /^BZh[1-9]1AY&SY/.test(text)
      ? 'bzip2'
      : text.startsWith('\x04\x22\x4d\x18')
        ? 'lz4'
        : undefined;
  if (name !== undefined) throw refusedCompression(`it is compressed by ${name}`);
}

const refusedCompression = (why: string): CrispError =>
  new CrispError('Unimplemented', `archive: ${why}`, {
    hint: 'compress it by gzip, or by zstd without a dictionary and with at most --long=27',
  });

/** Reads the file, decompresses it and passes each piece to `sink`, which works synchronously. */
export async function decompress(
  fd: number,
  sink: (piece: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const first = Buffer.alloc(MAGIC_LENGTH);
  readFully(fd, first, 0);
  const compression = compressionOf(first);
  refuseOtherCompression(first);
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
  if (code === 'ZSTD_error_frameParameter_windowTooLarge')
    return refusedCompression('it is compressed by zstd with a window of more than 128 MiB');
  if (code === 'ZSTD_error_dictionary_wrong')
    return refusedCompression('it is compressed by zstd with a dictionary');
  if (code === 'Z_BUF_ERROR') return damaged(`the ${compression} stream is truncated`);
  if (code.startsWith('Z_') || code.startsWith('ZSTD_')) {
    const message = error instanceof Error ? error.message : code;
    return damaged(`the ${compression} stream is damaged: ${message}`);
  }
  return error;
}
