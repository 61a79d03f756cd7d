import type { Operation } from '#core/operation.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import type { Image } from '../image/image.ts';
import type { Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import { artifactKey } from '../store/layer-store.ts';
import type { Leases } from '../store/leases.ts';
import { artifactRecord, type CommitParts, commitImage } from './commit.ts';
import type { BlobSource } from './fetch-blobs.ts';
import type { Artifacts } from './obtain-artifact.ts';
import type { PullMeter } from './progress.ts';
import type { Resolved } from './resolve.ts';

interface Parts extends CommitParts {
  readonly artifacts: Artifacts;
  readonly leases: Leases;
}

/** The rest of a pull whose name is that of an artifact. */
export async function pullArtifact(
  parts: Parts,
  options: Pick<ImageServiceOptions, 'root' | 'commitMs'>,
  pull: {
    readonly source: BlobSource['source'];
    readonly reference: Reference;
    readonly resolved: Resolved;
    readonly manifest: ArtifactManifest;
    readonly meter: PullMeter;
  },
  op: Operation,
): Promise<Image> {
  const { source, reference, resolved, manifest, meter } = pull;
  const { documents, target } = resolved;
  const digest = documents.at(-1)?.digest ?? target;
  const blobs = [...documents, manifest.config, ...manifest.layers];
  using _held = parts.leases.hold([artifactKey(digest), ...blobs.map((blob) => blob.digest)]);
  meter.stage = 'layers';
  const layer = await op.stage('layers', () =>
    parts.artifacts.obtain({ source, op, digest, manifest, meter }),
  );
  await parts.content.putAll(documents);
  meter.stage = 'commit';
  const tags = reference.tag === undefined ? [] : [reference.text];
  const digests = [`${reference.repository}@${target}`];
  const record = artifactRecord(
    { tags, digests, documents, manifest, layers: [layer] },
    digest,
    parts.content,
  );
  // Awaited here: the leases must outlive the commit.
  return await commitImage(parts, options, record, manifest, op);
}
