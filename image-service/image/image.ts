import type { Digest, ImageId } from '#core/ids.ts';
import type { ImageConfig as ContainerImageConfig } from '#core/model/image.ts';
import type { Versioned } from '#core/record-store.ts';

/** The image's config, as far as containers and clients see it. */
export interface ImageConfig extends ContainerImageConfig {
  readonly labels: Readonly<Record<string, string>>;
}

/** A tag and when it was last pulled: where two records have the same tag after a crash, the later one owns it. */
export interface Tag {
  /** `docker.io/library/busybox:latest`. */
  readonly name: string;
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
}

/** The record of an image. Its presence means: every layer and blob that it names is on the disk and synced. */
export interface ImageRecord extends Versioned {
  readonly id: ImageId;
  readonly tags: readonly Tag[];
  /** `repository@sha256:…` of what the registry served: of the index if there was one. */
  readonly digests: readonly string[];
  /** Keys of the layer store, from the bottom to the top. */
  readonly layers: readonly string[];
  /** Its blobs in the store: indexes, manifests, config, and those of its fetched layers. */
  readonly blobs: readonly Digest[];
  /** Bytes on the disk: the blobs and the unpacked layers. */
  readonly size: number;
  /** Bytes that were to be transferred: config and compressed layers. */
  readonly compressedSize: number;
  readonly platform: { readonly os: string; readonly architecture: string };
  /** The type of an artifact, whose id is the digest of its manifest; absent in the record of an image. */
  readonly artifactType?: string;
  /** When it was first pulled, nanoseconds since the epoch. */
  readonly pulled: bigint;
  readonly config: ImageConfig;
}

export const IMAGE_RECORD_VERSION = 1;

/** An image as clients see it: a snapshot that does not change. */
export interface Image {
  readonly id: ImageId;
  readonly repoTags: readonly string[];
  readonly repoDigests: readonly string[];
  /** Bytes on the disk, > 0. */
  readonly size: number;
  /** From the config's user, before the colon: a number … */
  readonly uid: bigint | undefined;
  /** … or a name; empty where there is a uid or no user at all. */
  readonly username: string;
  readonly record: ImageRecord;
}

/** The client's view of a record. */
export function imageOf(record: ImageRecord): Image {
  const user = record.config.user.split(':')[0] ?? '';
  const numeric = /^\d{1,10}$/.test(user);
  return {
    id: record.id,
    repoTags: record.tags.map((tag) => tag.name),
    repoDigests: record.digests,
    size: record.size,
    uid: numeric ? BigInt(user) : undefined,
    username: numeric ? '' : user,
    record,
  };
}
