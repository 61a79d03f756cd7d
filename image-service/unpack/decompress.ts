import type { Transform } from 'node:stream';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ByteSource } from '../byte-source.ts';
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

/**
 * Decompresses the source to its end and passes each piece to `sink`, which works synchronously. What follows the end of
 * a gzip stream is read and ignored. Throws what the source and the sink throw.
 */
export async function decompress(
  source: ByteSource,
  sink: (piece: Buffer) => void,
  signal: AbortSignal,
): Promise<void> {
  const first = await source.peek(MAGIC_LENGTH, signal);
  const compression = compressionOf(first);
  refuseOtherCompression(first);
  if (compression === 'none') return plain(source, sink, signal);
  const frames = compression === 'zstd' ? new ZstdFrames() : undefined;
  const through = frames ? createZstdDecompress({ chunkSize: CHUNK }) : createGunzip({ chunkSize: CHUNK });
  const stop = new AbortController();
  const feeding = feed(source, through, frames, AbortSignal.any([signal, stop.signal]));
  feeding.catch((error) => through.destroy(error));
  try {
    for await (const piece of through) sink(piece);
    await feeding;
  } catch (error) {
    stop.abort(error);
    // The source must not be read by two.
    await feeding.catch(() => {});
    throw zlibError(error, compression);
  }
  if (frames && !frames.complete) throw damaged('the zstd stream is truncated');
}

/** Writes the source into the decompressor: the next piece is taken when the last one has been decompressed. */
async function feed(
  source: ByteSource,
  through: Transform,
  frames: ZstdFrames | undefined,
  signal: AbortSignal,
): Promise<void> {
  let ended = false;
  const over = new Promise<void>((resolve) => {
    const end = () => {
      ended = true;
      resolve();
    };
    through.once('end', end).once('close', end).once('error', end);
  });
  for (;;) {
    const piece = await source.next(signal);
    if (!piece) break;
    for (const part of frames ? frames.push(piece) : [piece]) {
      // A decompressor that has ended never says that it has taken what it ignores.
      if (!ended) await Promise.race([written(through, part), over]);
    }
    signal.throwIfAborted();
  }
  through.end();
}

/** Resolves also after an error, which comes out of `through` as well. */
const written = (through: Transform, part: Buffer): Promise<void> =>
  new Promise((resolve) => through.write(part, () => resolve()));

async function plain(source: ByteSource, sink: (piece: Buffer) => void, signal: AbortSignal): Promise<void> {
  for (let piece = await source.next(signal); piece; piece = await source.next(signal)) {
    sink(piece);
    // Lets the event loop run, so that a cancellation is received.
    await new Promise(setImmediate);
    signal.throwIfAborted();
  }
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
