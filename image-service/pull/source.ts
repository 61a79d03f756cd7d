import type { RingMemory } from '../byte-ring.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { Reference } from '../image/reference.ts';
import type { RegistryAuth } from '../registry/credentials.ts';
import type { CurrentManifest, FetchedManifest } from '../registry/manifest-document.ts';
import type { Served, ServedBy } from '../registry/served.ts';

/** What is read from a registry: one repository, with one caller's credentials. Throws CrispError. */
export interface RegistrySource {
  /** A manifest or index by tag or digest, its bytes verified where the digest is known. */
  manifest(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<FetchedManifest>>;
  /**
   * The digest and media type that a tag has now, without its content; undefined where the registry does not say. Throws
   * what `manifest` throws where the registry refuses.
   */
  current(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<CurrentManifest> | undefined>;
  /** The verified bytes of a small blob, whose size the caller has limited. */
  bytes(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    signal: AbortSignal,
  ): Promise<{ bytes: Buffer; served: Served }>;
  /** Writes a verified blob to an empty file. `progress` gets its bytes so far; fewer than before after a restart. */
  file(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    path: string,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Served>;
  /**
   * Sends a blob to the thread that reads from `to`, which gets its end only when it is verified; also to an empty file,
   * where `path` is given. `progress` as that of `file`.
   */
  stream(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    to: StreamTarget,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Served>;
}

export interface StreamTarget {
  readonly to: RingMemory;
  readonly path: string | undefined;
}

/** The same, as a pull reads it: who has served it is noted by its meter. */
export interface ImageSource {
  manifest(tagOrDigest: string, signal: AbortSignal): Promise<FetchedManifest>;
  current(tagOrDigest: string, signal: AbortSignal): Promise<CurrentManifest | undefined>;
  bytes(blob: Pick<Descriptor, 'digest' | 'size'>, signal: AbortSignal): Promise<Buffer>;
  file(blob: Pick<Descriptor, 'digest' | 'size'>, path: string, signal: AbortSignal): Promise<void>;
  /** `progressed` is called a few times a second while bytes arrive. */
  stream(
    blob: Pick<Descriptor, 'digest' | 'size'>,
    to: StreamTarget,
    progressed: () => void,
    signal: AbortSignal,
  ): Promise<void>;
}

/** Opens sources. One may be used after its disposal, by a transfer that another pull still waits for. */
export interface ImageSources {
  open(reference: Reference, auth: RegistryAuth | undefined): RegistrySource & Disposable;
}
