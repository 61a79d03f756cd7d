import type { Digest } from '#core/ids.ts';
import { type ArtifactManifest, parseArtifact } from './artifact.ts';
import {
  type Descriptor,
  isObject,
  type Json,
  malformedImage,
  parseDescriptor,
  readJson,
  refusedImage,
} from './descriptor.ts';
import { INDEX_TYPES, type IndexEntry, MANIFEST_TYPES, parseIndex } from './index-entries.ts';

export { type Descriptor, isObject, malformedImage, readJson } from './descriptor.ts';

export interface ImageManifest {
  readonly kind: 'image';
  readonly config: Descriptor;
  readonly layers: readonly Descriptor[];
}

export type Manifest =
  | { readonly kind: 'index'; readonly manifests: readonly IndexEntry[] }
  | ImageManifest
  | ArtifactManifest;

const CONFIG_TYPES = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]);
/** What docker's own images of 2016 and 2017 have instead (github.com/docker/distribution/issues/1621). */
const OLD_CONFIG_TYPES = new Set(['application/octet-stream', 'application/json', 'text/html', '']);
const DOCKER_MANIFEST = 'application/vnd.docker.distribution.manifest.v2+json';
const LAYER_TYPES = new Set([
  'application/vnd.oci.image.layer.v1.tar',
  'application/vnd.oci.image.layer.v1.tar+gzip',
  'application/vnd.oci.image.layer.v1.tar+zstd',
  'application/vnd.docker.image.rootfs.diff.tar',
  'application/vnd.docker.image.rootfs.diff.tar.gzip',
  'application/vnd.docker.image.rootfs.diff.tar.zstd',
]);
const LAYER_LIMIT = 500;
const CONFIG_LIMIT = 8 << 20;

/**
 * Reads a manifest or index of OCI or docker schema 2. `served` is the media type that came with it; its own field
 * counts first. Throws DataLoss where it is malformed, Unimplemented where crisp does not support the type.
 */
export function parseManifest(bytes: Uint8Array, served: string, what: string): Manifest {
  const json = readJson(bytes, what);
  if (json['schemaVersion'] === 1 || 'fsLayers' in json) {
    throw refusedImage(
      what,
      'docker schema 1, which cannot be verified',
      'push the image again with a current tool',
    );
  }
  if (json['schemaVersion'] !== 2) throw malformedImage(what, 'schemaVersion is not 2');
  const own = typeof json['mediaType'] === 'string' ? json['mediaType'] : undefined;
  const type = own ?? (INDEX_TYPES.has(served) || MANIFEST_TYPES.has(served) ? served : undefined);
  // An image disguised as an index by its type is an attack (CVE-2021-41190): a document may not be both.
  if ('manifests' in json && ('layers' in json || 'config' in json)) {
    throw malformedImage(what, 'it is both an index and a manifest');
  }
  if (INDEX_TYPES.has(type ?? '') || (type === undefined && 'manifests' in json))
    return { kind: 'index', manifests: parseIndex(json, what) };
  if (MANIFEST_TYPES.has(type ?? '') || (type === undefined && 'config' in json))
    return parseContent(json, what);
  throw refusedImage(
    what,
    `media type ${JSON.stringify(own ?? served)}`,
    'only OCI and docker schema 2 images are supported',
  );
}

function parseContent(json: Json, what: string): ImageManifest | ArtifactManifest {
  const config = parseDescriptor(json['config'], `${what}: config`);
  return isArtifact(json, config) ? parseArtifact(json, config, what) : parseImage(json, config, what);
}

/** By its config. One with a type of its own and an image's config is an image as long as its layers are an image's. */
function isArtifact(json: Json, config: Descriptor): boolean {
  const { artifactType, layers, mediaType } = json;
  if (mediaType === DOCKER_MANIFEST && OLD_CONFIG_TYPES.has(config.mediaType)) return false;
  if (!CONFIG_TYPES.has(config.mediaType)) return true;
  if (typeof artifactType !== 'string' || artifactType === '' || !Array.isArray(layers)) return false;
  return layers.some((layer) => !(isObject(layer) && LAYER_TYPES.has(String(layer['mediaType']))));
}

function parseImage(json: Json, config: Descriptor, what: string): ImageManifest {
  if (config.size > CONFIG_LIMIT) throw malformedImage(what, `a config of ${config.size} bytes`);
  const list = json['layers'];
  if (!Array.isArray(list)) throw malformedImage(what, 'it has no list of layers');
  if (list.length > LAYER_LIMIT)
    throw malformedImage(what, `${list.length} layers; overlayfs supports ${LAYER_LIMIT}`);
  return {
    kind: 'image',
    config,
    layers: list.map((item, index) => parseLayer(item, `${what}: layer ${index}`)),
  };
}

/** A layer with `urls` is fetched from the registry like any other: they are further places, not the only ones. */
function parseLayer(item: unknown, what: string): Descriptor {
  const type = isObject(item) ? item['mediaType'] : undefined;
  if (typeof type === 'string' && !LAYER_TYPES.has(type)) throw refusedLayer(type, what);
  return parseDescriptor(item, what);
}

function refusedLayer(type: string, what: string): Error {
  const shown = JSON.stringify(type.slice(0, 200));
  if (/foreign|nondistributable/.test(type)) {
    const why = `a foreign layer (${shown}), whose content is outside of the registry`;
    return refusedImage(what, why, 'push the layer itself, with a media type of ordinary layers');
  }
  if (/\+encrypted$/.test(type)) {
    const why = `an encrypted layer (${shown}); crisp has no keys`;
    return refusedImage(
      what,
      why,
      'decrypt the image (skopeo copy --decryption-key) and push it unencrypted',
    );
  }
  const hint = 'layers must be tar, uncompressed or compressed by gzip or zstd';
  return refusedImage(what, `a layer of media type ${shown}`, hint);
}

/** Bytes that a manifest may have: the least that registries must accept (distribution-spec). */
export const MANIFEST_LIMIT = 4 << 20;

/** The manifest or index that the bytes of a blob are; undefined where they are a config, a layer, or damaged. */
export function manifestIn(bytes: Buffer, digest: Digest): Manifest | undefined {
  if (bytes[0] !== 0x7b) return undefined; // a layer
  try {
    return parseManifest(bytes, '', digest);
  } catch {
    return undefined;
  }
}
