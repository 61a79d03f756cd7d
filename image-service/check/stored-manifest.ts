import { readFile } from 'node:fs/promises';
import type { Digest } from '#core/ids.ts';
import type { ImageRecord } from '../image/image.ts';
import { MANIFEST_LIMIT, manifestIn } from '../image/manifest.ts';
import type { ContentStore } from '../store/content-store.ts';

/** The key of the layer whose archive this blob is; undefined where it is another part of the image, or that is not known. */
export async function layerOfBlob(
  digest: Digest,
  { blobs, layers, artifactType }: ImageRecord,
  content: ContentStore,
): Promise<string | undefined> {
  for (const candidate of artifactType === undefined ? blobs.toReversed() : []) {
    if (candidate === digest || (content.size(candidate) ?? Infinity) > MANIFEST_LIMIT) continue;
    // Not by the store, which deletes a damaged blob that it reads: here it is still to be reported.
    const bytes = await readFile(content.path(candidate)).catch(() => undefined);
    const manifest = bytes && manifestIn(bytes, candidate);
    if (!manifest || manifest.kind === 'index') continue;
    const index = manifest.layers.findIndex((layer) => layer.digest === digest);
    if (index >= 0) return layers[index];
  }
  return undefined;
}
