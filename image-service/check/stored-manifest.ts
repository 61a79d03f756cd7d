import { readFile } from 'node:fs/promises';
import type { Digest } from '#core/ids.ts';
import type { ImageRecord } from '../image/image.ts';
import { parseManifest } from '../image/manifest.ts';
import type { ContentStore } from '../store/content-store.ts';

const MANIFEST_LIMIT = 4 << 20;
const BRACE = 0x7b;

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
    const archives = bytes?.[0] === BRACE ? layersOf(bytes) : [];
    const index = archives.indexOf(digest);
    if (index >= 0) return layers[index];
  }
  return undefined;
}

function layersOf(bytes: Buffer): readonly string[] {
  try {
    const manifest = parseManifest(bytes, '', 'manifest');
    return manifest.kind === 'index' ? [] : manifest.layers.map(({ digest }) => digest);
  } catch {
    return []; // a config, or a layer
  }
}
