/** The end of a pull or an import: from the fetched content to the record that makes the image visible. */
import type { Digest, ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Files } from '#linux/ports/kernel.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import { IMAGE_RECORD_VERSION, type Image, type ImageRecord } from '../image/image.ts';
import { emptyConfig, type ParsedConfig } from '../image/image-config.ts';
import type { ImageManifest } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageStore } from '../store/images.ts';
import type { LayerRecord, LayerStore } from '../store/layer-store.ts';
import { allOrNone } from './all-or-none.ts';
import type { Blobs } from './fetch-blobs.ts';
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

/**
 * All layers at once; if one fails the others are cancelled before the error is thrown. `kept`: gets their blobs, too,
 * where they are not in the store.
 */
export async function obtainAll(
  layers: Layers,
  plan: LayerPlan,
  kept: Blobs | undefined,
  signal: AbortSignal,
): Promise<LayerRecord[]> {
  const steps = plan.layers.map(({ blob }, index) => async (shared: AbortSignal) => {
    const layer = await layers.obtain(plan, index, shared);
    await kept?.fetch(plan, blob, shared);
    return layer;
  });
  try {
    return await allOrNone('layer of the image', signal, steps);
  } catch (error) {
    throw inImage(error, plan.image);
  }
}

/**
 * The record of an image whose parts are in the stores. `isKept`: whether the blob of a layer is to stay in the store, if it is
 * there: its layer does not need it any more.
 */
export function recordOf(
  obtained: Obtained,
  content: ContentStore,
  isKept: (blob: Digest) => boolean,
): ImageRecord {
  const { manifest, config } = obtained;
  const id = manifest.config.digest as string as ImageId;
  return { id, platform: config.platform, config: config.config, ...commonOf(obtained, content, isKept) };
}

/** Blobs of layers stay where the operator wants it, and where an image that has them already stays whole by that. */
export const isKept =
  ({ keepBlobs }: Pick<ImageServiceOptions, 'keepBlobs'>, images: ImageStore) =>
  (blob: Digest): boolean =>
    keepBlobs || images.isNamed(blob);

/** The record of an artifact whose parts are in the stores; `digest` is that of its manifest. */
export function artifactRecord(
  obtained: ObtainedArtifact,
  digest: Digest,
  content: ContentStore,
): ImageRecord {
  const id = digest as string as ImageId;
  const { platform, config } = emptyConfig;
  // Its files are links to its blobs.
  const common = commonOf(obtained, content, () => true);
  return { id, platform, config, artifactType: obtained.manifest.type, ...common };
}

function commonOf(
  { manifest, documents, layers, tags, digests }: Obtained | ObtainedArtifact,
  content: ContentStore,
  isKept: (blob: Digest) => boolean,
) {
  const now = BigInt(Date.now()) * 1_000_000n;
  const fetched = new Map([manifest.config, ...manifest.layers].map(({ digest, size }) => [digest, size]));
  const compressedSize = [...fetched.values()].reduce((sum, size) => sum + size, 0);
  const parts = [...manifest.layers.filter(({ digest }) => isKept(digest)), manifest.config, ...documents];
  // A layer that was there already needed no blob. What a manifest says of a blob that was there has not been checked.
  const blobs = new Map<Digest, number>();
  for (const { digest } of parts) {
    const size = content.size(digest);
    if (size !== undefined) blobs.set(digest, size);
  }
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

export interface CommitParts {
  readonly content: ContentStore;
  readonly files: Files;
  readonly images: ImageStore;
  readonly store: LayerStore;
  /** Called with the image's blobs once it is visible: those that no record names are no longer needed. */
  readonly committed: (blobs: readonly Digest[]) => void;
}

/**
 * Makes all that the record names durable, then writes the record, which makes the image visible: an image that is listed
 * is whole also after a power cut. Each blob is flushed by itself (fdatasync), then their directory once; layers that are
 * EROFS images were made durable in the same way when they were stored. Only a new layer in a directory, whose files were
 * not flushed one by one, takes a syncfs of the whole file system.
 */
export async function commitImage(
  parts: CommitParts,
  options: { readonly root: string; readonly commitMs: number },
  record: ImageRecord,
  manifest: ImageManifest | ArtifactManifest,
  op: Operation,
): Promise<Image> {
  const { content, files, images, store } = parts;
  const takesAll = store.isUnsynced(record.layers);
  if (takesAll || content.isUnsynced(record.blobs)) {
    await op.deadline('sync', options.commitMs, async () => {
      if (takesAll) await files.syncFilesystem(options.root);
      await content.persist(record.blobs);
    });
  }
  op.checkpoint();
  const image = await op.stage('commit', () => images.put(record));
  parts.committed(manifest.layers.map(({ digest }) => digest));
  return image;
}
