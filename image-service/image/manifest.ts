import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';

/** A pointer to content (OCI image-spec, descriptor.md). */
export interface Descriptor {
  readonly mediaType: string;
  readonly digest: Digest;
  readonly size: number;
}

export interface PlatformDescriptor extends Descriptor {
  readonly platform:
    | { readonly os: string; readonly architecture: string; readonly variant: string }
    | undefined;
}

export type Manifest =
  | { readonly kind: 'index'; readonly manifests: readonly PlatformDescriptor[] }
  | { readonly kind: 'image'; readonly config: Descriptor; readonly layers: readonly Descriptor[] };

const INDEX_TYPES = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
const MANIFEST_TYPES = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);
const CONFIG_TYPES = new Set([
  'application/vnd.oci.image.config.v1+json',
  'application/vnd.docker.container.image.v1+json',
]);
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
const INDEX_LIMIT = 1000;

/** Content of a registry that is not a valid image. `what` names the content. */
export const malformedImage = (what: string, why: string): CrispError =>
  new CrispError('DataLoss', `${what}: ${why}`, { hint: 'build and push the image again' });

const refusedImage = (what: string, why: string, hint: string): CrispError =>
  new CrispError('Unimplemented', `${what}: ${why}`, { hint });

/** Reads JSON of the registry. Throws DataLoss. */
export function readJson(bytes: Uint8Array, what: string): Readonly<Record<string, unknown>> {
  let value: unknown;
  try {
    value = JSON.parse(Buffer.from(bytes).toString('utf8'));
  } catch {
    throw malformedImage(what, 'it is not JSON');
  }
  if (!isObject(value)) throw malformedImage(what, 'it is not a JSON object');
  return value;
}

export const isObject = (value: unknown): value is Readonly<Record<string, unknown>> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

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
    return parseIndex(json, what);
  if (MANIFEST_TYPES.has(type ?? '') || (type === undefined && 'config' in json))
    return parseImage(json, what);
  throw refusedImage(
    what,
    `media type ${JSON.stringify(own ?? served)}`,
    'only OCI and docker schema 2 images are supported',
  );
}

function parseIndex(json: Readonly<Record<string, unknown>>, what: string): Manifest {
  const list = json['manifests'];
  if (!Array.isArray(list) || list.length > INDEX_LIMIT)
    throw malformedImage(what, 'its list of manifests is malformed');
  const manifests = list.map((item: unknown) => {
    const descriptor = parseDescriptor(item, `${what}: a manifest of the index`);
    const platform = isObject(item) && isObject(item['platform']) ? item['platform'] : undefined;
    return {
      ...descriptor,
      platform: platform && {
        os: String(platform['os'] ?? ''),
        architecture: String(platform['architecture'] ?? ''),
        variant: String(platform['variant'] ?? ''),
      },
    };
  });
  return { kind: 'index', manifests };
}

function parseImage(json: Readonly<Record<string, unknown>>, what: string): Manifest {
  const config = parseDescriptor(json['config'], `${what}: config`);
  if (!CONFIG_TYPES.has(config.mediaType)) {
    const why = `an artifact of type ${JSON.stringify(config.mediaType)}, not an image`;
    throw refusedImage(what, why, 'name a container image');
  }
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

function parseLayer(item: unknown, what: string): Descriptor {
  const layer = parseDescriptor(item, what);
  const foreign = /foreign|nondistributable/.test(layer.mediaType);
  const urls = isObject(item) && Array.isArray(item['urls']) && item['urls'].length > 0;
  if (foreign || urls) {
    throw refusedImage(
      what,
      'its content is outside of the registry',
      'push the layer itself (foreign layers are not fetched)',
    );
  }
  if (!LAYER_TYPES.has(layer.mediaType)) {
    throw refusedImage(
      what,
      `media type ${JSON.stringify(layer.mediaType)}`,
      'layers must be tar, uncompressed or compressed by gzip or zstd',
    );
  }
  return layer;
}

function parseDescriptor(item: unknown, what: string): Descriptor {
  if (!isObject(item)) throw malformedImage(what, 'it has no descriptor');
  const { mediaType, digest, size } = item;
  if (typeof mediaType !== 'string') throw malformedImage(what, 'it has no media type');
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw malformedImage(what, `its digest is not a sha256 digest: ${JSON.stringify(digest)?.slice(0, 100)}`);
  }
  if (typeof size !== 'number' || !Number.isSafeInteger(size) || size < 0) {
    throw malformedImage(what, `its size is not a number: ${JSON.stringify(size)?.slice(0, 100)}`);
  }
  return { mediaType, digest, size };
}
