/** Which images an archive holds: an OCI layout (image-spec, image-layout.md), or what `docker save` writes. */
import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { IndexEntry } from '../image/index-entries.ts';
import { type Descriptor, isObject, malformedImage, parseManifest } from '../image/manifest.ts';
import { choosePlatform } from '../image/platform.ts';
import { parseReference, type Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { type ArchivedImage, idOf, incomplete } from './archived-image.ts';
import { dockerImages } from './docker-images.ts';
import type { Spool, SpooledFile } from './spool.ts';

type Platform = ImageServiceOptions['platform'];

const DOCUMENT_LIMIT = 4 << 20;
const MAX_DEPTH = 4;
const INDEX_TYPE = 'application/vnd.oci.image.index.v1+json';
/** Names that containerd and OCI tools give a manifest of an index; the first is always a full name. */
const NAMES = ['io.containerd.image.name', 'org.opencontainers.image.ref.name'];

/** The images of the archive for this machine. Throws InvalidArgument for an unknown format. */
export async function imagesOf(spool: Spool, platform: Platform): Promise<readonly ArchivedImage[]> {
  const index = await spool.small('index.json', DOCUMENT_LIMIT);
  if (index) return ociImages(spool, index, platform);
  const manifest = await spool.small('manifest.json', DOCUMENT_LIMIT);
  if (manifest) return mergeNames(dockerImages(spool, manifest));
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
    if (manifest.kind !== 'index') {
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

/** An image with several names is listed once for each. */
function mergeNames(images: readonly ArchivedImage[]): ArchivedImage[] {
  const byId = new Map<Digest, ArchivedImage>();
  for (const image of images) {
    const known = byId.get(idOf(image));
    byId.set(idOf(image), {
      ...(known ?? image),
      tags: [...new Set([...(known?.tags ?? []), ...image.tags])],
      digests: [...new Set([...(known?.digests ?? []), ...image.digests])],
    });
  }
  return [...byId.values()];
}
