import { createHash } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { tarEnd, tarHeader, tarPadding } from '#core/tar/writer.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import type { Image } from '../image/image.ts';
import { type Descriptor, type ImageManifest, MANIFEST_LIMIT, manifestIn } from '../image/manifest.ts';
import { parseReference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { ImageStore } from '../store/images.ts';
import type { Leases } from '../store/leases.ts';

interface ExportParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly leases: Leases;
}

interface Exported {
  readonly names: readonly string[];
  readonly descriptor: Descriptor;
  readonly manifest: ImageManifest | ArtifactManifest;
}

const MANIFEST_TYPE = 'application/vnd.oci.image.manifest.v1+json';
const CHUNK = 1 << 20;
const hexOf = (digest: Digest): string => digest.slice('sha256:'.length);
const nameOf = (digest: Digest): string => `blobs/sha256/${hexOf(digest)}`;

/**
 * The images as one archive that is an OCI layout and, by its manifest.json, also what `docker load` takes. Blobs are
 * those that were pulled, byte for byte, each checked against its digest while it is sent; the archive of the same images
 * is the same archive. Throws before the first piece: NotFound for an unknown image, FailedPrecondition for one whose
 * blobs are not in the store, with how to get them; DataLoss, in the midst, where a blob is damaged.
 */
export async function* exportImages(
  references: readonly string[],
  parts: ExportParts,
  options: Pick<ImageServiceOptions, 'keepBlobs'>,
  op: Operation,
): AsyncGenerator<Buffer> {
  if (references.length === 0) {
    throw new CrispError('InvalidArgument', 'image export: no image was named', { hint: 'name one or more' });
  }
  const named = namesByImage(references, parts.images);
  using _blobs = parts.leases.hold([...named.keys()].flatMap((image) => image.record.blobs));
  const exported: Exported[] = [];
  for (const [image, names] of named) exported.push(await describe(image, [...names].sort(), parts.content));
  const wanted = exported.flatMap(({ descriptor, manifest }) => [
    descriptor,
    manifest.config,
    ...manifest.layers,
  ]);
  const blobs = [...new Map(wanted.map((blob) => [blob.digest, blob])).values()];
  const missing = blobs.filter(({ digest }) => !parts.content.has(digest));
  if (missing.length > 0) throw incomplete(missing, references, options);
  yield* fileOf('oci-layout', { imageLayoutVersion: '1.0.0' });
  yield* fileOf('index.json', indexOf(exported));
  const docker = dockerManifest(exported);
  if (docker.length > 0) yield* fileOf('manifest.json', docker);
  for (const name of ['blobs/', 'blobs/sha256/'])
    yield tarHeader({ ...member(name, 0), type: 'directory', mode: 0o755 });
  for (const blob of blobs) yield* blobOf(blob, parts.content, op.signal);
  yield tarEnd();
}

/** Layers are kept unpacked: their blobs are there only where that was wanted when they were pulled. */
function incomplete(
  missing: readonly Descriptor[],
  references: readonly string[],
  { keepBlobs }: Pick<ImageServiceOptions, 'keepBlobs'>,
): CrispError {
  const size = missing.reduce((sum, blob) => sum + blob.size, 0);
  const [first] = missing;
  const what =
    missing.length === 1 ? `blob ${first?.digest}` : `${missing.length} blobs, the first ${first?.digest},`;
  const setting = keepBlobs ? '' : 'set image.keep_blobs = true, restart crisp, then ';
  return new CrispError(
    'FailedPrecondition',
    `image export: ${what} of ${references.join(', ')} ${missing.length === 1 ? 'is' : 'are'} not in the store (${size} bytes)`,
    {
      hint: `${setting}pull ${references.length === 1 ? 'it' : 'them'} again, or import the archive again: blobs that are missing are then added`,
    },
  );
}

/** An image named by a tag is exported under this tag, one that is named otherwise under all that it has. */
function namesByImage(references: readonly string[], images: ImageStore): Map<Image, Set<string>> {
  const named = new Map<Image, Set<string>>();
  for (const reference of references) {
    const image = images.find(reference);
    if (!image) {
      throw new CrispError('NotFound', `image ${JSON.stringify(reference)} is not in the store`, {
        hint: 'pull it first, or check its name',
      });
    }
    const names = named.get(image) ?? new Set();
    const tag = image.repoTags.find((name) => name === fullName(reference));
    for (const name of tag === undefined ? image.repoTags : [tag]) names.add(name);
    named.set(image, names);
  }
  return named;
}

function fullName(reference: string): string | undefined {
  try {
    return parseReference(reference).text;
  } catch {
    return undefined; // an id
  }
}

/** Finds the manifest among the image's blobs: the record names them all alike, manifests behind layers. */
async function describe(image: Image, names: readonly string[], content: ContentStore): Promise<Exported> {
  for (const digest of image.record.blobs.toReversed()) {
    const size = content.size(digest) ?? Infinity;
    if (size > MANIFEST_LIMIT) continue;
    const bytes = await content.read(digest);
    const parsed = bytes && manifestIn(bytes, digest);
    if (!parsed || parsed.kind === 'index' || !identifies(parsed, digest, image)) continue;
    const { mediaType = MANIFEST_TYPE } = JSON.parse(bytes?.toString('utf8') ?? '{}') as {
      mediaType?: string;
    };
    return { names, manifest: parsed, descriptor: { mediaType, digest, size } };
  }
  throw new CrispError(
    'FailedPrecondition',
    `image export: the manifest of ${image.id} is not in the store`,
    {
      hint: 'pull the image again',
    },
  );
}

const identifies = (manifest: ImageManifest | ArtifactManifest, digest: Digest, { id }: Image): boolean =>
  (manifest.kind === 'artifact' ? digest : manifest.config.digest) === (id as string);

const indexOf = (exported: readonly Exported[]): object => ({
  schemaVersion: 2,
  mediaType: 'application/vnd.oci.image.index.v1+json',
  manifests: exported.flatMap(({ names, descriptor }) =>
    names.length === 0
      ? [descriptor]
      : names.map((name) => ({
          ...descriptor,
          annotations: { 'io.containerd.image.name': name, 'org.opencontainers.image.ref.name': name },
        })),
  ),
});

const dockerManifest = (exported: readonly Exported[]): readonly object[] =>
  exported.flatMap(({ names, manifest: { kind, config, layers } }) =>
    // docker knows no artifacts.
    kind === 'artifact'
      ? []
      : [
          {
            Config: nameOf(config.digest),
            RepoTags: names,
            Layers: layers.map(({ digest }) => nameOf(digest)),
          },
        ],
  );

const member = (name: string, size: number) =>
  ({ type: 'file', name, mode: 0o644, uid: 0, gid: 0, size, mtime: 0 }) as const;

function* fileOf(name: string, content: object): Generator<Buffer> {
  const bytes = Buffer.from(JSON.stringify(content));
  yield Buffer.concat([tarHeader(member(name, bytes.length)), bytes, tarPadding(bytes.length)]);
}

async function* blobOf(blob: Descriptor, content: ContentStore, signal: AbortSignal): AsyncGenerator<Buffer> {
  const { digest, size } = blob;
  yield tarHeader(member(nameOf(digest), size));
  const hash = createHash('sha256');
  let sent = 0;
  for await (const piece of createReadStream(content.path(digest), { highWaterMark: CHUNK, signal })) {
    hash.update(piece as Buffer);
    sent += (piece as Buffer).length;
    if (sent > size) break;
    yield piece as Buffer;
  }
  if (sent !== size || hash.digest('hex') !== hexOf(digest)) {
    throw new CrispError('DataLoss', `image export: blob ${digest} is damaged in the store`, {
      hint: 'remove the image and pull it again',
    });
  }
  yield tarPadding(size);
}
