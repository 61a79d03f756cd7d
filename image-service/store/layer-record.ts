import { CrispError } from '#core/errors.ts';
import { type Digest, isDigest } from '#core/ids.ts';
import type { Versioned } from '#core/record-store.ts';

/** A layer's EROFS image as it was written. */
export interface LayerImage {
  /** `sha256:…` of the bytes from the second block (of 4096) to the end, then of the first block, which is written last. */
  readonly digest: Digest;
  /** Size of the file. */
  readonly bytes: number;
}

/**
 * How this node keeps new layers: as EROFS images, mounted from their files or through loop devices, or as directories,
 * and why.
 */
export type LayerForm =
  | { readonly form: 'erofs'; readonly by: 'file' | 'loop' }
  | { readonly form: 'directory'; readonly reason: string };

/** The record of a layer. A layer exists when its directory has one: it is written last and renamed into place with the rest. */
export interface LayerRecord extends Versioned {
  readonly key: string;
  /** Of an artifact's files the digest of its manifest. */
  readonly diffId: string;
  /** Whether the layers below it are hidden. */
  readonly rootOpaque: boolean;
  /**
   * False: its root has the attributes that the layers below give it, which a mount of the layers sees to. Absent: it has its own
   * or, before version 3, those of the layers below that it was completed with.
   */
  readonly rootDeclared?: false;
  /** Bytes and inodes on the disk. */
  readonly bytes: number;
  readonly inodes: number;
  /** The EROFS image that holds the files; absent: they are a directory. */
  readonly image?: LayerImage;
  /** Nanoseconds since the epoch. */
  readonly created: bigint;
}

/** What a layer that is to be stored brings along. */
export type NewLayer = Omit<LayerRecord, 'version' | 'created'>;

/** The newest version that is read and written. */
export const LAYER_RECORD_VERSION = 3;
/** Each layer gets the least that says all of it: an earlier crisp, which reads no later one, goes on using it. */
const versions = { directory: 1, image: 2, rootUndeclared: 3 } as const;

const BLOCK = 4096;
/** Of a layer that is an image: its directory, its record and the image. */
const IMAGE_INODES = 3;

/** A self-contained layer has its diff id as key, whatever is below it. */
export const diffKey = (diffId: string): string => `diff-${diffId.slice('sha256:'.length)}`;
/** A layer that was completed against the layers below has its chain id as key: it is valid only on top of those. */
export const chainKey = (chainId: string): string => `chain-${chainId.slice('sha256:'.length)}`;
/** The files of an artifact have its manifest's digest as key. */
export const artifactKey = (manifest: string): string => `artifact-${manifest.slice('sha256:'.length)}`;

/** The record of a new layer. What an image takes on the disk is the image's own size, whatever it holds. */
export function layerRecordOf(layer: NewLayer): LayerRecord {
  const created = BigInt(Date.now()) * 1_000_000n;
  const { image } = layer;
  const version = versionOf(layer);
  if (!image) return { version, created, ...layer };
  const bytes = Math.ceil(image.bytes / BLOCK) * BLOCK;
  return { version, created, ...layer, bytes, inodes: IMAGE_INODES };
}

function versionOf({ image, rootDeclared }: Pick<LayerRecord, 'image' | 'rootDeclared'>): number {
  if (rootDeclared === false) return versions.rootUndeclared;
  return image ? versions.image : versions.directory;
}

/** Records of earlier versions are read as they are: an image came with version 2, a root without an entry with version 3. */
export const migrateLayerRecord = (record: Versioned): LayerRecord => record as LayerRecord;

/** Throws DataLoss where the record is not whole, or not that of the directory. */
export function checkLayerRecord(record: LayerRecord, directory: string): void {
  const { version, key, rootOpaque, rootDeclared, bytes, inodes, image } = record;
  const hasRoot = rootDeclared === undefined || rootDeclared === false;
  const whole = typeof rootOpaque === 'boolean' && hasRoot && isSize(bytes) && isSize(inodes);
  if (!whole) throw damaged(`the record of the layer lacks fields of version ${version}`);
  if (key !== directory) throw damaged(`it is the record of layer ${key}`);
  if (versionOf(record) !== version) {
    const has = (what: unknown) => (what === undefined ? 'lacks' : 'has');
    throw damaged(
      `a record of version ${version} ${has(image)} an image and ${has(rootDeclared)} rootDeclared`,
    );
  }
  if (image) checkImage(image);
}

function checkImage({ digest, bytes }: Partial<LayerImage>): void {
  if (typeof digest !== 'string' || !isDigest(digest)) {
    throw damaged(`the digest of the layer's image is ${JSON.stringify(digest)}`);
  }
  if (!isSize(bytes) || bytes < BLOCK) {
    throw damaged(`the size of the layer's image is ${JSON.stringify(bytes)}`);
  }
}

const isSize = (value: unknown): value is number => Number.isSafeInteger(value) && (value as number) >= 0;

/** A layer that cannot be used as it is on the disk. */
export const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', why, { hint: 'pull the image again' });
