import { CrispError, errnoOf } from '#core/errors.ts';
import { type Decompressor, GzipDecompressor, ZstdDecompressor } from '#linux/libc/decompress.ts';
import type { ByteSource } from '../byte-source.ts';
import { damaged } from './entry.ts';

/** What is decompressed at once. */
const CHUNK = 512 << 10;
/** While the sink works on one piece and another thread still reads the one before, the next one is made. */
const BUFFERS = 3;

/** What becomes of a piece. */
export interface Taken {
  /** Settles when the next piece may come. */
  readonly ready: Promise<unknown>;
  /** Settles when the memory of this one may be used anew. */
  readonly used: Promise<unknown>;
}

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
 * Decompresses the source to its end and passes each piece to `sink` while the next one is made. What follows the end of a gzip stream is read and ignored. `isVerified`: the caller
 * compares a digest of what comes out, so the sums in a gzip stream need not be. Throws what the source and the sink throw.
 */
export async function decompress(
  source: ByteSource,
  sink: (piece: Buffer) => Taken,
  { isVerified, signal }: { readonly isVerified: boolean; readonly signal: AbortSignal },
): Promise<void> {
  const first = await source.peek(MAGIC_LENGTH, signal);
  const compression = compressionOf(first);
  refuseOtherCompression(first);
  if (compression === 'none') return plain(source, sink, signal);
  using through =
    compression === 'zstd' ? new ZstdDecompressor() : new GzipDecompressor({ checks: !isVerified });
  const turns = Array.from({ length: BUFFERS }, () => new Turn());
  const turnOf = (piece: number): Turn => turns[piece % BUFFERS] as Turn;
  const begin = (n: number): Promise<Buffer> => {
    const filling = fill(turnOf(n).buffer, source, through, signal);
    filling.catch(() => {}); // awaited below, but later
    return filling;
  };
  let ahead = begin(0);
  try {
    for (let n = 0; ; n++) {
      const piece = await ahead;
      await turnOf(n + 1).taken.used;
      if (piece.length > 0) ahead = begin(n + 1);
      await turnOf(n - 1 + BUFFERS).taken.ready;
      if (piece.length === 0) break;
      turnOf(n).take(sink(piece));
    }
    await Promise.all(turns.map(({ taken }) => taken.used));
  } catch (error) {
    throw zlibError(error, compression);
  } finally {
    // The libraries must have left the memory, and the source must not be read by two.
    await Promise.allSettled([ahead, ...turns.flatMap(({ taken }) => [taken.ready, taken.used])]);
  }
  if (!through.isComplete) throw damaged(`the ${compression} stream is truncated`);
}

/** A buffer, and what has become of the piece that was in it. */
class Turn {
  readonly buffer = Buffer.allocUnsafeSlow(CHUNK);
  taken: Taken = { ready: Promise.resolve(), used: Promise.resolve() };

  take(taken: Taken): void {
    this.taken = taken;
    // Awaited later.
    taken.ready.catch(() => {});
    taken.used.catch(() => {});
  }
}

/** The next bytes, in the buffer; none only at the end. With bytes at hand the library has begun when this returns its promise. */
async function fill(
  buffer: Buffer,
  source: ByteSource,
  through: Decompressor,
  signal: AbortSignal,
): Promise<Buffer> {
  let filled = 0;
  while (filled < buffer.length) {
    if (through.isHungry) {
      const next = source.next(signal);
      const piece = next instanceof Promise ? await next : next;
      if (!piece) break;
      through.feed(piece);
    }
    filled += await through.fill(buffer.subarray(filled));
    signal.throwIfAborted();
  }
  return buffer.subarray(0, filled);
}

async function plain(source: ByteSource, sink: (piece: Buffer) => Taken, signal: AbortSignal): Promise<void> {
  for (let piece = await source.next(signal); piece; piece = await source.next(signal)) {
    const { ready, used } = sink(piece);
    await Promise.all([ready, used]);
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
