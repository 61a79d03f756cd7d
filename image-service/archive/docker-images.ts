/** What `docker save` writes. */
import { createHash } from 'node:crypto';
import { isDigest } from '#core/ids.ts';
import { isObject, malformedImage, parseManifest } from '../image/manifest.ts';
import { parseReference } from '../image/reference.ts';
import { compressionOf } from '../unpack/decompress.ts';
import { shown } from '../unpack/entry.ts';
import { type ArchivedImage, incomplete } from './archived-image.ts';
import type { Spool, SpooledFile } from './spool.ts';

type Json = Readonly<Record<string, unknown>>;

const MAX_IMAGES = 1000;
const OCI = 'application/vnd.oci.image';
const SUFFIXES = { gzip: '+gzip', zstd: '+zstd', none: '' } as const;

/** The images that a `manifest.json` of docker names. */
export function dockerImages(spool: Spool, bytes: Buffer): ArchivedImage[] {
  let list: unknown;
  try {
    list = JSON.parse(bytes.toString('utf8'));
  } catch {
    // Refused below.
  }
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_IMAGES) {
    throw malformedImage('manifest.json', `it is not a list of 1 to ${MAX_IMAGES} images`);
  }
  return list.map((item: unknown) => dockerImage(spool, isObject(item) ? item : {}));
}

/** docker's own manifest has no digests, so an OCI manifest is generated: a later export needs it. */
function dockerImage(spool: Spool, item: Json): ArchivedImage {
  const config = fileOf(spool, item['Config'], 'Config');
  const names = texts(item['Layers'], 'Layers');
  const layers = names.map((name) => fileOf(spool, name, 'a layer'));
  const tags = texts(item['RepoTags'], 'RepoTags').map((name) => parseReference(name).text);
  const written = {
    schemaVersion: 2,
    mediaType: `${OCI}.manifest.v1+json`,
    config: { mediaType: `${OCI}.config.v1+json`, digest: config.digest, size: config.size },
    layers: layers.map(({ head, digest, size }) => ({
      mediaType: `${OCI}.layer.v1.tar${SUFFIXES[compressionOf(head)]}`,
      digest,
      size,
    })),
  };
  const bytes = Buffer.from(JSON.stringify(written));
  const digest = `sha256:${createHash('sha256').update(bytes).digest('hex')}`;
  const manifest = parseManifest(bytes, written.mediaType, 'manifest.json');
  if (manifest.kind !== 'image' || !isDigest(digest))
    throw malformedImage('manifest.json', 'it is not an image');
  const blobs = new Map([config, ...layers].map((file) => [file.digest, file]));
  return { tags, digests: [], documents: [{ digest, bytes }], manifest, blobs };
}

function fileOf(spool: Spool, name: unknown, what: string): SpooledFile {
  if (typeof name !== 'string' || name === '')
    throw malformedImage('manifest.json', `${what} is not a valid name`);
  const file = spool.file(Buffer.from(name).toString('latin1'));
  if (!file) throw incomplete(`manifest.json names ${shown(name)}, which is missing`);
  return file;
}

function texts(value: unknown, field: string): readonly string[] {
  if (value === undefined || value === null) return [];
  if (!Array.isArray(value) || value.some((item) => typeof item !== 'string')) {
    throw malformedImage('manifest.json', `${field} is not a list of names`);
  }
  return value;
}
