/** What the image service needs of others, declared here and connected in daemon/services.ts. */
import type { ErrorCode } from '#core/errors.ts';

export interface LayerUsers {
  /**
   * The ids (`sha256:…`) of the images whose layers a container or an image volume uses, running or not. Called
   * when layers are collected: an image that was removed keeps its layers while it is named here.
   */
  imagesInUse(): Iterable<string>;
}

/** No layer is in use. */
export const noLayerUsers: LayerUsers = { imagesInUse: () => [] };

/** What a pull is at its end. */
export interface PullResult {
  /** Of the operation that its log lines have. */
  readonly id: string;
  readonly ms: number;
  /** Undefined: it has succeeded. */
  readonly code: ErrorCode | undefined;
  /** Which kind of endpoint has served most of it. */
  readonly source: 'registry' | 'mirror' | 'none';
  /** Undefined where it has failed: it may not know them. */
  readonly layers: { readonly fetched: number; readonly shared: number } | undefined;
}

/** Gets what is measured of pulls. */
export interface PullObserver {
  /**
   * Content has arrived. `registry` is the host in the image's name, which any user chooses; `configured`: whether the
   * node's configuration names it.
   */
  fetched(
    from: {
      readonly registry: string;
      readonly configured: boolean;
      readonly kind: 'registry' | 'mirror';
    },
    bytes: number,
  ): void;
  /** A layer was unpacked, or could not be. */
  unpacked(ms: number): void;
  pulled(result: PullResult): void;
}

/** Nothing is measured. */
export const noPullObserver: PullObserver = { fetched() {}, unpacked() {}, pulled() {} };

/** Gets what checks of what is on the disk come to. */
export interface CheckObserver {
  /** Something was found to be damaged, by whichever check. */
  damaged(kind: 'layer' | 'blob' | 'image'): void;
  /** Bytes were read and compared. */
  verified(bytes: number): void;
}

/** Nothing is measured. */
export const noCheckObserver: CheckObserver = { damaged() {}, verified() {} };
