import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Image } from '../image/image.ts';
import { parseReference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { checkArchive } from '../policy/trust-policy.ts';
import { type CommitParts, commitImage, isKept } from '../pull/commit.ts';
import type { Artifacts } from '../pull/obtain-artifact.ts';
import type { Layers } from '../pull/obtain-layers.ts';
import type { Leases } from '../store/leases.ts';
import type { Staging } from '../store/staging.ts';
import type { ArchivedImage } from './archived-image.ts';
import { imagesOf } from './contents.ts';
import { expanded } from './expand.ts';
import { planImport } from './plan-import.ts';
import { Spool } from './spool.ts';

export interface ImportParts extends CommitParts {
  readonly layers: Layers;
  readonly artifacts: Artifacts;
  readonly leases: Leases;
  readonly staging: Staging;
  /** Called when an import has failed: its leftovers are not needed. */
  readonly failed: () => void;
}

export interface ImportRequest {
  /** The archive, compressed or not. */
  readonly source: AsyncIterable<Buffer>;
  /** Name of the one image, instead of those in the archive. */
  readonly name?: string;
}

/**
 * Imports the images of an archive. All of it is received and every layer unpacked before the first image is visible.
 * Throws DataLoss for a truncated or damaged archive, InvalidArgument for a hostile one or a wrong name.
 */
export async function importImages(
  { source, name }: ImportRequest,
  parts: ImportParts,
  options: ImageServiceOptions,
  op: Operation,
): Promise<readonly Image[]> {
  const wanted = name === undefined ? undefined : parseReference(name);
  if (wanted && wanted.tag === undefined) {
    throw new CrispError('InvalidArgument', `image import: ${wanted.text} has a digest instead of a tag`, {
      hint: 'name it repository:tag',
    });
  }
  try {
    const expandedSource = expanded(source, options.limits, op.signal);
    await using spool = await op.stage('receive', () => Spool.read(expandedSource, parts.staging, op.signal));
    // As containers-transports(5) calls the formats.
    const transport = spool.file('index.json') ? 'oci-archive' : 'docker-archive';
    await op.stage('verify', () => checkArchive(options.trust, transport));
    const found = await imagesOf(spool, options.platform);
    return await importAll(wanted ? [renamed(found, wanted.text)] : found, spool, parts, options, op);
  } catch (error) {
    parts.failed();
    op.checkpoint();
    throw ofArchive(error);
  }
}

function renamed(found: readonly ArchivedImage[], name: string): ArchivedImage {
  const [image, ...others] = found;
  if (image && others.length === 0) return { ...image, tags: [name], digests: [] };
  throw new CrispError('InvalidArgument', `image import: the archive holds ${found.length} images, not one`, {
    hint: 'leave the name out: each image has the names that the archive gives it',
  });
}

async function importAll(
  found: readonly ArchivedImage[],
  spool: Spool,
  parts: ImportParts,
  options: ImageServiceOptions,
  op: Operation,
): Promise<Image[]> {
  const { content, leases } = parts;
  const blobs = new Map(found.flatMap((image) => [...image.blobs]));
  const documents = found.flatMap((image) => image.documents);
  using _blobs = leases.hold([...blobs.keys(), ...documents.map(({ digest }) => digest)]);
  const planned = [];
  for (const image of found) planned.push(await planImport(image, spool, parts, options, op));
  // Layers are unpacked from the spool: their blobs are kept only where that is wanted.
  const stays = isKept(options, parts.images);
  const needed = new Set(found.flatMap(blobsOf));
  for (const [digest, { path, size }] of blobs)
    if (stays(digest) || needed.has(digest)) await content.adopt(path, digest, size);
  using _layers = leases.hold(planned.flatMap(({ layers }) => layers));
  // A record names what is in the store, so its documents are there first.
  await content.putAll(documents);
  const obtained = [];
  for (const { manifest, obtain } of planned)
    obtained.push({ manifest, record: await op.stage('layers', obtain) });
  const images: Image[] = [];
  for (const { record, manifest } of obtained)
    images.push(await commitImage(parts, options, record, manifest, op));
  return images;
}

/** The blobs that are kept in any case: an artifact's are its files. */
const blobsOf = ({ manifest, blobs }: ArchivedImage): Digest[] =>
  manifest.kind === 'image' ? [manifest.config.digest] : [...blobs.keys()];

/** The parsers are shared with pulls: for damage they name the remedy to push the image again. */
function ofArchive(error: unknown): unknown {
  if (!(error instanceof CrispError)) return error;
  const { code, message, hint, cause } = error;
  const ofContent = /^((layer )?archive: |image .*: layer \d)/.test(message);
  if (!ofContent && code !== 'DataLoss') return error;
  return new CrispError(
    code,
    `image archive: ${message.replace(/^(((layer|image) )?archive: |image )/, '')}`,
    {
      cause,
      hint: code === 'DataLoss' ? 'create the archive again, and check that it was copied completely' : hint,
    },
  );
}
