import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip, createZstdDecompress } from 'node:zlib';
import { CrispError } from '#core/errors.ts';
import type { UnpackLimits } from '../options.ts';
import { compressionOf, MAGIC_LENGTH, refuseOtherCompression, zlibError } from '../unpack/decompress.ts';
import { damaged } from '../unpack/entry.ts';
import { ZstdFrames } from '../unpack/zstd.ts';

const CHUNK = 1 << 20;

/**
 * The archive's bytes without its own compression (gzip, zstd or none, detected by the first bytes). Throws DataLoss where
 * the stream is truncated or damaged, ResourceExhausted where it grows beyond the limits.
 */
export async function* expanded(
  source: AsyncIterable<Buffer>,
  limits: UnpackLimits,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  let received = 0;
  let produced = 0;
  const counted = count(source, (bytes) => {
    received += bytes;
  });
  const [first, rest] = await peek(counted);
  for await (const piece of decompressed(first, rest, signal)) {
    produced += piece.length;
    const bomb = produced > limits.ratioFrom && produced > received * limits.ratio;
    if (produced > limits.layerBytes || bomb) {
      throw new CrispError('ResourceExhausted', `image archive: it unpacks to more than ${produced} bytes`, {
        hint: 'import the images one by one, or raise image.max_layer_size',
      });
    }
    yield piece;
  }
}

async function* count(source: AsyncIterable<Buffer>, add: (bytes: number) => void): AsyncGenerator<Buffer> {
  for await (const piece of source) {
    add(piece.length);
    yield piece;
  }
}

/** The first bytes, and all bytes including them. */
async function peek(source: AsyncGenerator<Buffer>): Promise<[Buffer, AsyncGenerator<Buffer>]> {
  const pieces: Buffer[] = [];
  let length = 0;
  while (length < MAGIC_LENGTH) {
    const { value, done } = await source.next();
    if (done) break;
    pieces.push(value);
    length += value.length;
  }
  const first = Buffer.concat(pieces);
  async function* all(): AsyncGenerator<Buffer> {
    if (first.length > 0) yield first;
    yield* source;
  }
  return [first.subarray(0, MAGIC_LENGTH), all()];
}

async function* decompressed(
  first: Buffer,
  source: AsyncGenerator<Buffer>,
  signal: AbortSignal,
): AsyncGenerator<Buffer> {
  const compression = compressionOf(first);
  refuseOtherCompression(first);
  if (compression === 'none') {
    yield* source;
    return;
  }
  const frames = compression === 'zstd' ? new ZstdFrames() : undefined;
  const through = frames ? createZstdDecompress({ chunkSize: CHUNK }) : createGunzip({ chunkSize: CHUNK });
  const feeding = pipeline(Readable.from(frames ? splitFrames(source, frames) : source), through, { signal });
  feeding.catch(() => {}); // its error comes out of `through` as well
  try {
    for await (const piece of through) yield piece as Buffer;
    await feeding;
  } catch (error) {
    throw zlibError(error, compression);
  }
  if (frames && !frames.complete) throw damaged('the zstd stream is truncated');
}

async function* splitFrames(source: AsyncIterable<Buffer>, frames: ZstdFrames): AsyncGenerator<Buffer> {
  for await (const chunk of source) yield* frames.push(chunk);
}
