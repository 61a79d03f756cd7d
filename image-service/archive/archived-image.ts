import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { ArtifactManifest } from '../image/artifact.ts';
import type { ImageManifest } from '../image/manifest.ts';
import type { SpooledFile } from './spool.ts';

/** One image of an archive; its config and layers are files of the spool. */
export interface ArchivedImage {
  readonly tags: readonly string[];
  readonly digests: readonly string[];
  readonly documents: readonly { readonly digest: Digest; readonly bytes: Buffer }[];
  readonly manifest: ImageManifest | ArtifactManifest;
  /** The file of each blob of the manifest. */
  readonly blobs: ReadonlyMap<Digest, SpooledFile>;
}

/** Of an image the digest of its config, of an artifact that of its manifest, which is the last document. */
export const idOf = ({ manifest, documents }: ArchivedImage): Digest =>
  (manifest.kind === 'artifact' ? documents.at(-1)?.digest : undefined) ?? manifest.config.digest;

/** An archive that lacks something that it names. */
export const incomplete = (why: string): CrispError =>
  new CrispError('DataLoss', `image archive: ${why}`, { hint: 'the archive is incomplete: create it again' });
