import { pipeline, Readable, type Transform } from 'node:stream';
import { createGunzip, createInflate, createZstdDecompress } from 'node:zlib';
import { errnoOf } from '#core/errors.ts';
import { RegistryFailure } from './failure.ts';
import type { Response } from './http/transport.ts';

const DECODERS: Readonly<Record<string, () => Transform>> = {
  gzip: createGunzip,
  'x-gzip': createGunzip,
  deflate: createInflate,
  zstd: createZstdDecompress,
};

/**
 * The encoding of a body, lower case; undefined where it has none, or none that can be decoded. Requests ask for the content
 * as it is, but some caches before registries encode it all the same; containerd reads these three, too.
 */
export function encodingOf({ headers }: Pick<Response, 'headers'>): string | undefined {
  const name = String(headers['content-encoding'] ?? '')
    .trim()
    .toLowerCase();
  return Object.hasOwn(DECODERS, name) ? name : undefined;
}

/** A stream keeps more than one piece. */
async function* copied(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  for await (const piece of body) yield Buffer.from(piece);
}

/** The body without its encoding. What cannot be decoded is a RegistryFailure; errors of the connection are passed on. */
export async function* decodedBody(
  { body }: Pick<Response, 'body'>,
  encoding: string,
  what: string,
): AsyncGenerator<Buffer> {
  const decoder = DECODERS[encoding]?.();
  if (!decoder) return yield* body;
  // Ends the transfer, too, when this generator is left. The iterator below reports errors.
  pipeline(Readable.from(copied(body)), decoder, () => {});
  try {
    yield* decoder;
  } catch (error) {
    if (!/^Z_|ZSTD/.test(errnoOf(error) ?? '')) throw error;
    throw new RegistryFailure(
      'RegistryUnavailable',
      `${what}: it cannot be decoded by its Content-Encoding ${encoding}`,
      {
        hint: 'the endpoint encodes what it was asked for as it is: check the mirror or proxy',
        transient: true,
      },
    );
  }
}
