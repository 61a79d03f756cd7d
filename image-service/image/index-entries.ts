import { isObject, type Json, malformedImage } from './descriptor.ts';

/** What an entry of an index says of its image; '' where it says nothing. */
export interface EntryPlatform {
  readonly os: string;
  readonly architecture: string;
  readonly variant: string;
}

/** An entry of an index. Its descriptor is read when it is chosen: what is wrong with the others is of no concern. */
export interface IndexEntry {
  /** As served. */
  readonly item: unknown;
  readonly platform: EntryPlatform | undefined;
  /** Whether it is an image or an index of images, as far as its media type and annotations say. */
  readonly usable: boolean;
}

/** The media types of indexes: OCI, and docker's manifest list. */
export const INDEX_TYPES: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.index.v1+json',
  'application/vnd.docker.distribution.manifest.list.v2+json',
]);
/** The media types of manifests: OCI, and docker schema 2. */
export const MANIFEST_TYPES: ReadonlySet<string> = new Set([
  'application/vnd.oci.image.manifest.v1+json',
  'application/vnd.docker.distribution.manifest.v2+json',
]);
const ENTRY_LIMIT = 1000;
/** What buildkit writes at the provenance of an image, which is beside it in the index. */
const ATTESTATION = 'vnd.docker.reference.type';

/** The entries, one for each of the list. Throws DataLoss where there is no list, or one of more than a thousand. */
export function parseIndex(json: Json, what: string): readonly IndexEntry[] {
  const list = json['manifests'];
  if (!Array.isArray(list)) throw malformedImage(what, 'it has no list of manifests');
  if (list.length > ENTRY_LIMIT)
    throw malformedImage(what, `${list.length} manifests; ${ENTRY_LIMIT} are the most`);
  return list.map(parseEntry);
}

function parseEntry(item: unknown): IndexEntry {
  if (!isObject(item)) return { item, platform: undefined, usable: false };
  const { mediaType, annotations } = item;
  const known =
    typeof mediaType === 'string' && (INDEX_TYPES.has(mediaType) || MANIFEST_TYPES.has(mediaType));
  const attests = isObject(annotations) && ATTESTATION in annotations;
  const platform = parsePlatform(item['platform']);
  const unknown = platform?.os === 'unknown' && platform.architecture === 'unknown';
  return { item, platform, usable: known && !attests && !unknown };
}

function parsePlatform(value: unknown): EntryPlatform | undefined {
  if (!isObject(value)) return undefined;
  const text = (field: unknown) => (typeof field === 'string' ? field : '');
  const { os, architecture, variant } = value;
  const platform = { os: text(os), architecture: text(architecture), variant: text(variant) };
  // `{}`, and one with empty fields, says as little as none.
  return platform.os === '' && platform.architecture === '' ? undefined : platform;
}
