/** Which images an archive holds: an OCI layout (image-spec, image-layout.md), or what `docker save` writes. */
import { createHash } from 'node:crypto';
import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import type { IndexEntry } from '../image/index-entries.ts';
import {
  type Descriptor,
  isObject,
  type Manifest,
  malformedImage,
  parseManifest,
} from '../image/manifest.ts';
import { choosePlatform } from '../image/platform.ts';
import { parseReference, type Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { compressionOf } from '../unpack/decompress.ts';
import { shown } from '../unpack/entry.ts';
import type { Spool, SpooledFile } from './spool.ts';

/** One image of an archive; its config and layers are files of the spool. */
export interface ArchivedImage {
  readonly tags: readonly string[];
  readonly digests: readonly string[];
  readonly documents: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
  readonly manifest: Extract<Manifest, { kind: 'image' }>;
  /** The file of each blob of the manifest. */
  readonly blobs: ReadonlyMap<Digest, SpooledFile>;
}

type Platform = ImageServiceOptions['platform'];
type Json = Readonly<Record<string, unknown>>;

const DOCUMENT_LIMIT = 4 << 20;
const MAX_IMAGES = 1000;
const MAX_DEPTH = 4;
const OCI = 'application/vnd.oci.image';
const INDEX_TYPE = `${OCI}.index.v1+json`;
const SUFFIXES = { gzip: '+gzip', zstd: '+zstd', none: '' } as const;
/** Names that containerd and OCI tools give a manifest of an index; the first is always a full name. */
const NAMES = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

/** The images of the archive for this machine. Throws InvalidArgument for an unknown format. */
export async function imagesOf(spool: Spool, platform: Platform): Promise<readonly ArchivedImage[]> {
  const index = await spool.small('index.json', DOCUMENT_LIMIT);
  if (index) return ociImages(spool, index, platform);
  const manifest = await spool.small('manifest.json', DOCUMENT_LIMIT);
  if (manifest) return dockerImages(spool, manifest);
  throw new CrispError(
    'InvalidArgument',
    'image archive: it has neither index.json (OCI) nor manifest.json (docker save)',
    { hint: 'make it with `docker save`, `skopeo copy … oci-archive:` or `crisp image export`' },
  );
}

async function ociImages(spool: Spool, bytes: Buffer, platform: Platform): Promise<ArchivedImage[]> {
  const index = parseManifest(bytes, INDEX_TYPE, 'index.json');
  if (index.kind !== 'index') throw malformedImage('index.json', 'it is not an index');
  const named = new Map<string, { name: Reference | undefined; choices: IndexEntry[] }>();
  // A name without any image (an attestation's) is none; of an archive without any, all entries are reported.
  const usable = index.manifests.filter((entry) => entry.usable);
  for (const entry of usable.length > 0 ? usable : index.manifests) {
    const name = nameOf(entry.item);
    const key = name?.text ?? '';
    const group = named.get(key) ?? { name, choices: [] };
    group.choices.push(entry);
    named.set(key, group);
  }
  const images: ArchivedImage[] = [];
  for (const { name, choices } of named.values()) {
    const chosen = choosePlatform(choices, platform, 'index.json');
    const image = await ociImage(spool, chosen, platform);
    images.push({
      ...image,
      tags: name?.tag === undefined ? [] : [name.text],
      digests: name ? [`${name.repository}@${chosen.digest}`] : [],
    });
  }
  return mergeNames(images);
}

function nameOf(descriptor: unknown): Reference | undefined {
  const annotations =
    isObject(descriptor) && isObject(descriptor['annotations']) ? descriptor['annotations'] : {};
  for (const key of NAMES) {
    const text = annotations[key];
    // A tag alone does not name a repository.
    if (typeof text !== 'string' || !/[/:@]/.test(text)) continue;
    try {
      return parseReference(text);
    } catch {
      // Any text is allowed here: the image then has no name.
    }
  }
  return undefined;
}

async function ociImage(
  spool: Spool,
  top: Descriptor,
  platform: Platform,
): Promise<Pick<ArchivedImage, 'documents' | 'manifest' | 'blobs'>> {
  const documents: { digest: Digest; bytes: Buffer }[] = [];
  let next = top;
  for (let depth = 0; depth < MAX_DEPTH; depth++) {
    const what = `manifest ${next.digest}`;
    blobOf(spool, next);
    const bytes = (await spool.small(nameOfBlob(next.digest), DOCUMENT_LIMIT)) ?? Buffer.alloc(0);
    documents.push({ digest: next.digest, bytes });
    const manifest = parseManifest(bytes, next.mediaType, what);
    if (manifest.kind === 'image') {
      const wanted = [manifest.config, ...manifest.layers];
      const blobs = new Map(wanted.map((descriptor) => [descriptor.digest, blobOf(spool, descriptor)]));
      return { documents, manifest, blobs };
    }
    next = choosePlatform(manifest.manifests, platform, what);
  }
  throw malformedImage('index.json', `more than ${MAX_DEPTH} indexes within each other`);
}

const nameOfBlob = (digest: Digest): string => `blobs/sha256/${digest.slice('sha256:'.length)}`;

function blobOf(spool: Spool, { digest, size }: Descriptor): SpooledFile {
  const file = spool.file(nameOfBlob(digest));
  if (!file) throw incomplete(`it lacks blob ${digest}`);
  // A link of the archive may lead from this name to another file.
  if (file.digest !== digest || file.size !== size) {
    throw malformedImage('image archive', `blob ${digest} does not have the digest and size in its manifest`);
  }
  return file;
}

const incomplete = (why: string): CrispError =>
  new CrispError('DataLoss', `image archive: ${why}`, { hint: 'the archive is incomplete: create it again' });

async function dockerImages(spool: Spool, bytes: Buffer): Promise<ArchivedImage[]> {
  let list: unknown;
  try {
    list = JSON.parse(bytes.toString('utf8'));
  } catch {
    // Refused below.
  }
  if (!Array.isArray(list) || list.length === 0 || list.length > MAX_IMAGES) {
    throw malformedImage('manifest.json', `it is not a list of 1 to ${MAX_IMAGES} images`);
  }
  return mergeNames(list.map((item: unknown) => dockerImage(spool, isObject(item) ? item : {})));
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

/** An image with several names is listed once for each. */
function mergeNames(images: readonly ArchivedImage[]): ArchivedImage[] {
  const byConfig = new Map<Digest, ArchivedImage>();
  for (const image of images) {
    const known = byConfig.get(image.manifest.config.digest);
    byConfig.set(image.manifest.config.digest, {
      ...(known ?? image),
      tags: [...new Set([...(known?.tags ?? []), ...image.tags])],
      digests: [...new Set([...(known?.digests ?? []), ...image.digests])],
    });
  }
  return [...byConfig.values()];
}
