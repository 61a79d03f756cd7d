/** The signatures of an image, none of them verified: as cosign keeps them beside it, and in the lookaside's files. */
import { hasCode } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import { isObject, readJson } from '../image/manifest.ts';
import { readLookaside } from './lookaside.ts';
import type { Location } from './registries-d.ts';
import { annotationsOf, rejected, SIMPLE_SIGNING, type Signature } from './signature.ts';

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const PAYLOAD_LIMIT = 256 << 10;
const MAX_SIGNATURES = 128;

/** Where manifests and blobs of the image's repository come from. */
export interface SignatureSource {
  /** Throws NotFound where the registry has none. */
  manifest(
    tagOrDigest: string,
    signal: AbortSignal,
  ): Promise<{ readonly bytes: Buffer; readonly mediaType: string }>;
  /** The verified bytes. */
  bytes(blob: { readonly digest: Digest; readonly size: number }, signal: AbortSignal): Promise<Buffer>;
}

/**
 * All signatures of these manifests. Throws the registry's failure where it cannot be asked: that there is no signature is
 * known only from its own NotFound.
 */
export async function collectSignatures(
  image: { readonly path: string; readonly digests: readonly Digest[] },
  location: Location,
  source: SignatureSource,
  signal: AbortSignal,
): Promise<readonly Signature[]> {
  const found: Signature[] = [];
  for (const digest of image.digests) {
    found.push(...(await readLookaside(location.lookaside, image.path, digest)));
    if (location.attachments) found.push(...(await attachedTo(digest, source, signal)));
  }
  return found;
}

async function attachedTo(
  signed: Digest,
  source: SignatureSource,
  signal: AbortSignal,
): Promise<Signature[]> {
  const tag = `${signed.replace(':', '-')}.sig`;
  const manifest = await source.manifest(tag, signal).catch((error: unknown) => {
    if (hasCode(error, 'NotFound')) return undefined;
    throw error;
  });
  if (!manifest) return [];
  const signatures: Signature[] = [];
  for (const { digest, size, annotations } of layersOf(manifest, `signatures ${tag}`)) {
    const payload = await source.bytes({ digest, size }, signal);
    signatures.push({ payload, annotations, signed });
  }
  return signatures;
}

interface SignatureLayer {
  readonly digest: Digest;
  readonly size: number;
  readonly annotations: ReadonlyMap<string, string>;
}

/** Other attachments than signatures are skipped. */
function layersOf(
  { bytes, mediaType }: { readonly bytes: Buffer; readonly mediaType: string },
  what: string,
): readonly SignatureLayer[] {
  if (mediaType !== MANIFEST_TYPE) throw rejected(`${what}: media type ${JSON.stringify(mediaType)}`);
  const { layers } = readJson(bytes, what);
  if (!Array.isArray(layers)) throw rejected(`${what}: it has no list of layers`);
  const signatures = layers.filter((layer) => isObject(layer) && layer['mediaType'] === SIMPLE_SIGNING);
  if (signatures.length > MAX_SIGNATURES)
    throw rejected(`${what}: ${signatures.length} signatures; at most ${MAX_SIGNATURES} are read`);
  return signatures.map((layer: Readonly<Record<string, unknown>>) => {
    const { digest, size } = layer;
    if (typeof digest !== 'string' || !isDigest(digest)) throw rejected(`${what}: a layer has no digest`);
    if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0 || size > PAYLOAD_LIMIT)
      throw rejected(`${what}: a payload is not of 0 to ${PAYLOAD_LIMIT} bytes`);
    return { digest, size, annotations: annotationsOf(layer['annotations']) };
  });
}
