/** The messages between the main thread and the download worker. Structured clones: plain data only. */
import type { SerializedError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import type { RingMemory } from '../byte-ring.ts';
import type { Reference } from '../image/reference.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { RegistryAuth } from '../registry/credentials.ts';
import type { FailedEndpoints } from '../registry/endpoint-health.ts';
import type { ExplainedPull } from '../registry/explain.ts';
import type { CurrentManifest, FetchedManifest } from '../registry/manifest-document.ts';
import type { Served, ServedBy } from '../registry/served.ts';

/** What the worker is started with. */
export type DownloadOptions = Pick<
  ImageServiceOptions,
  | 'registries'
  | 'hostsDirectories'
  | 'registriesConf'
  | 'certificateDirectories'
  | 'proxy'
  | 'authFiles'
  | 'parallelDownloads'
  | 'noByteMs'
  | 'connectMs'
  | 'attempts'
  | 'retryWaitMs'
  | 'nextEndpointMs'
  | 'slowEndpointMs'
  | 'minRate'
  | 'minRateMs'
  | 'workerIdleMs'
>;

/** The data of the worker. */
export interface WorkerStart {
  readonly options: DownloadOptions;
  readonly failed: FailedEndpoints;
}

export interface BlobIdentity {
  readonly digest: Digest;
  readonly size: number;
}

/** What a session can be asked. Results are small; the bytes of layers go to a file or to another thread. */
export interface Calls {
  manifest: {
    readonly request: { readonly tagOrDigest: string };
    readonly result: ServedBy<FetchedManifest>;
  };
  current: {
    readonly request: { readonly tagOrDigest: string };
    readonly result: ServedBy<CurrentManifest> | undefined;
  };
  bytes: {
    readonly request: { readonly blob: BlobIdentity };
    readonly result: { readonly bytes: Uint8Array; readonly served: Served };
  };
  explain: { readonly request: { readonly ping: boolean }; readonly result: ExplainedPull };
  /** The file exists and is empty. */
  file: {
    readonly request: { readonly blob: BlobIdentity; readonly path: string };
    readonly result: Served;
  };
  /** The memory leads to the thread that unpacks the blob; the file, where there is one, exists and is empty. */
  stream: {
    readonly request: {
      readonly blob: BlobIdentity;
      readonly to: RingMemory;
      readonly path: string | undefined;
    };
    readonly result: Served;
  };
}

export type Act = keyof Calls;
export type Call = { [A in Act]: { readonly act: A } & Calls[A]['request'] }[Act];

export type WorkerRequest =
  | {
      readonly kind: 'open';
      readonly session: number;
      readonly reference: Reference;
      readonly auth: RegistryAuth | undefined;
    }
  | { readonly kind: 'close'; readonly session: number }
  | { readonly kind: 'call'; readonly id: number; readonly session: number; readonly call: Call }
  | { readonly kind: 'cancel'; readonly id: number }
  | { readonly kind: 'ping' };

export type WorkerReply =
  | { readonly kind: 'done'; readonly id: number; readonly value: Calls[Act]['result'] }
  | { readonly kind: 'failed'; readonly id: number; readonly failure: SerializedError }
  /** Bytes of the blob so far; fewer than before where the transfer has restarted. */
  | { readonly kind: 'progress'; readonly id: number; readonly received: number }
  /** At each change, for the next worker. */
  | { readonly kind: 'health'; readonly failed: FailedEndpoints }
  | { readonly kind: 'pong' };
