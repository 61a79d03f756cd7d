/** Signatures as cosign writes them, made here: payload, annotations, and their manifest beside the image. */
import { createHash, type KeyObject, sign } from 'node:crypto';
import { type Blob, descriptor, digestOf, jsonBlob, pushBlob, pushManifest } from './images.ts';

export interface SignatureSpec {
  readonly payload: Buffer;
  readonly annotations: Readonly<Record<string, string>>;
}

export const SIMPLE_SIGNING = 'application/vnd.dev.cosign.simplesigning.v1+json';
const MANIFEST = 'application/vnd.oci.image.manifest.v1+json';
const CONFIG = 'application/vnd.oci.image.config.v1+json';

/** What cosign signs for an image. */
export const payloadOf = (digest: string, reference: string): Buffer =>
  Buffer.from(
    JSON.stringify({
      critical: {
        identity: { 'docker-reference': reference },
        image: { 'docker-manifest-digest': digest },
        type: 'cosign container image signature',
      },
      optional: null,
    }),
  );

export const signBytes = (bytes: Buffer, key: KeyObject): Buffer =>
  sign(key.asymmetricKeyType === 'ed25519' ? null : 'sha256', bytes, key);

/** A signature by a key. */
export const signedBy = (key: KeyObject, payload: Buffer): SignatureSpec => ({
  payload,
  annotations: { 'dev.cosignproject.cosign/signature': signBytes(payload, key).toString('base64') },
});

/** Pushes signatures to where cosign has them: the tag `sha256-<hex>.sig` of the repository. */
export async function pushSignatures(
  registry: string,
  repository: string,
  digest: string,
  signatures: readonly SignatureSpec[],
  mediaType = SIMPLE_SIGNING,
): Promise<void> {
  const config = jsonBlob(CONFIG, {
    architecture: '',
    os: '',
    config: {},
    rootfs: { type: 'layers', diff_ids: [] },
  });
  const layers = signatures.map(({ payload, annotations }) => ({
    blob: { mediaType, digest: digestOf(payload), bytes: payload } satisfies Blob,
    annotations,
  }));
  for (const blob of [config, ...layers.map((layer) => layer.blob)])
    await pushBlob(registry, repository, blob);
  const manifest = jsonBlob(MANIFEST, {
    schemaVersion: 2,
    mediaType: MANIFEST,
    config: descriptor(config),
    layers: layers.map(({ blob, annotations }) => ({ ...descriptor(blob), annotations })),
  });
  await pushManifest(registry, repository, `${digest.replace(':', '-')}.sig`, manifest);
}

export const sha256 = (bytes: Buffer | string): Buffer => createHash('sha256').update(bytes).digest();
