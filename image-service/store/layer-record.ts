import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
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
  /** Bytes and inodes on the disk. */
  readonly bytes: number;
  readonly inodes: number;
  /** The EROFS image that holds the files; absent: they are a directory. */
  readonly image?: LayerImage;
  /** Nanoseconds since the epoch. */
  readonly created: bigint;
}

export const LAYER_RECORD_VERSION = 1;

/** A self-contained layer has its diff id as key, whatever is below it. */
export const diffKey = (diffId: string): string => `diff-${diffId.slice('sha256:'.length)}`;
/** A layer that was completed against the layers below has its chain id as key: it is valid only on top of those. */
export const chainKey = (chainId: string): string => `chain-${chainId.slice('sha256:'.length)}`;
/** The files of an artifact have its manifest's digest as key. */
export const artifactKey = (manifest: string): string => `artifact-${manifest.slice('sha256:'.length)}`;

/** Throws DataLoss where the record is not whole, or not that of the directory. */
export function checkLayerRecord({ key, rootOpaque, bytes, inodes }: LayerRecord, directory: string): void {
  const whole = typeof rootOpaque === 'boolean' && Number.isFinite(bytes) && Number.isFinite(inodes);
  if (!whole) throw damaged('the record of the layer lacks fields of version 1');
  if (key !== directory) throw damaged(`it is the record of layer ${key}`);
}

const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', why, { hint: 'pull the image again' });
