/** The end of a pull or an import: from the fetched content to the record that makes the image visible. */
import type { Digest, ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Files } from '#linux/ports/kernel.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import { IMAGE_RECORD_VERSION, type Image, type ImageRecord } from '../image/image.ts';
import { emptyConfig, type ParsedConfig } from '../image/image-config.ts';
import type { ImageManifest } from '../image/manifest.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageStore } from '../store/images.ts';
import type { LayerRecord } from '../store/layer-store.ts';
import { allOrNone } from './all-or-none.ts';
import { inImage } from './layer-failure.ts';
import type { LayerPlan, Layers } from './obtain-layers.ts';

interface Found {
  /** Full names with tags. */
  readonly tags: readonly string[];
  /** `repository@digest`. */
  readonly digests: readonly string[];
  /** The indexes and the manifest. */
  readonly documents: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
  readonly layers: readonly LayerRecord[];
}

export interface Obtained extends Found {
  readonly manifest: ImageManifest;
  readonly config: ParsedConfig;
}

export interface ObtainedArtifact extends Found {
  readonly manifest: ArtifactManifest;
}

/** All layers at once; if one fails the others are cancelled before the error is thrown. */
export async function obtainAll(
  layers: Layers,
  plan: LayerPlan,
  signal: AbortSignal,
): Promise<LayerRecord[]> {
  const steps = plan.layers.map((_, index) => (shared: AbortSignal) => layers.obtain(plan, index, shared));
  try {
    return await allOrNone('layer of the image', signal, steps);
  } catch (error) {
    throw inImage(error, plan.image);
  }
}

/** The record of an image whose parts are in the stores. */
export function recordOf(obtained: Obtained, content: ContentStore): ImageRecord {
  const { manifest, config } = obtained;
  const id = manifest.config.digest as string as ImageId;
  return { id, platform: config.platform, config: config.config, ...commonOf(obtained, content) };
}

/** The record of an artifact whose parts are in the stores; `digest` is that of its manifest. */
export function artifactRecord(
  obtained: ObtainedArtifact,
  digest: Digest,
  content: ContentStore,
): ImageRecord {
  const id = digest as string as ImageId;
  const { platform, config } = emptyConfig;
  return { id, platform, config, artifactType: obtained.manifest.type, ...commonOf(obtained, content) };
}

function commonOf(
  { manifest, documents, layers, tags, digests }: Obtained | ObtainedArtifact,
  content: ContentStore,
) {
  const now = BigInt(Date.now()) * 1_000_000n;
  const blobs = new Map([manifest.config, ...manifest.layers].map(({ digest, size }) => [digest, size]));
  const compressedSize = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  for (const { digest, bytes } of documents) blobs.set(digest, bytes.length);
  // A layer that was there already needed no blob: the store may lack it if its image was removed.
  for (const digest of [...blobs.keys()]) if (!content.has(digest)) blobs.delete(digest);
  const blobBytes = [...blobs.values()].reduce((sum, size) => sum + size, 0);
  return {
    version: IMAGE_RECORD_VERSION,
    tags: tags.map((name) => ({ name, at: now })),
    digests,
    layers: layers.map(({ key }) => key),
    blobs: [...blobs.keys()],
    size: blobBytes + layers.reduce((sum, { bytes }) => sum + bytes, 0),
    compressedSize,
    pulled: now,
  };
}

/** Syncs all that is new to the disk, then writes the record, which makes the image visible. */
export async function commitImage(
  parts: { readonly files: Files; readonly images: ImageStore },
  options: { readonly root: string; readonly commitMs: number },
  record: ImageRecord,
  op: Operation,
): Promise<Image> {
  const known = parts.images.find(record.id)?.record;
  const includesAll = (names: readonly string[], persisted: readonly string[] = []) =>
    names.every((name) => persisted.includes(name));
  if (!includesAll(record.layers, known?.layers) || !includesAll(record.blobs, known?.blobs)) {
    await op.deadline('sync', options.commitMs, () => parts.files.syncFilesystem(options.root));
  }
  op.checkpoint();
  return op.stage('commit', () => parts.images.put(record));
}
