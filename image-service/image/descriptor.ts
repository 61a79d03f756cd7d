import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';

/** A pointer to content (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

/** A JSON object of a registry, of which only what was checked is known. */
export type Json = Readonly<Record<string, unknown>>;

/** Content of a registry that is not a valid image. `what` names the content. */
export const malformedImage = (what: string, why: string): CrispError =>
  new CrispError('DataLoss', `${what}: ${why}`, { hint: 'build and push the image again' });

/** Valid content that crisp does not support. */
export const refusedImage = (what: string, why: string, hint: string): CrispError =>
  new CrispError('Unimplemented', `${what}: ${why}`, { hint });

/** Reads JSON of the registry. Throws DataLoss. */
export function readJson(bytes: Uint8Array, what: string): Json {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw malformedImage(what, 'it is not JSON');
  }
  if (!isObject(value)) throw malformedImage(what, 'it is not a JSON object');
  return value;
}

export const isObject = (value: unknown): value is Json =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

/** Other digests that the specification registers (OCI image-spec, descriptor.md): valid, but not supported. */
const OTHER_DIGEST = /^(sha512:[0-9a-f]{128}|blake3:[0-9a-f]{64})$/;

/** Throws DataLoss where it is malformed, Unimplemented where its digest is of another kind than sha256. */
export function parseDescriptor(item: unknown, what: string): Descriptor {
  if (!isObject(item)) throw malformedImage(what, 'it has no descriptor');
  const { mediaType, digest, size } = item;
  if (typeof mediaType !== 'string') throw malformedImage(what, 'it has no media type');
  if (typeof digest === 'string' && OTHER_DIGEST.test(digest)) {
    const why = `its digest is of the kind ${digest.slice(0, digest.indexOf(':'))}; only sha256 is supported`;
    throw refusedImage(what, why, 'push the image again with sha256 digests');
  }
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw malformedImage(what, `its digest is not a sha256 digest: ${JSON.stringify(digest)?.slice(0, 100)}`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw malformedImage(what, `its size is not a number: ${JSON.stringify(size)?.slice(0, 100)}`);
  }
  return { mediaType, digest, size };
}
