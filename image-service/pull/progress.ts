import type { Digest } from '#core/ids.ts';
import type { Served } from '../registry/served.ts';
import type { Activity } from './activity.ts';
import type { Callers } from './shared-work.ts';

export type LayerState = 'waiting' | 'fetching' | 'unpacking' | 'done';

export interface LayerProgress {
  readonly digest: Digest;
  /** Compressed bytes. */
  readonly total: number;
  readonly done: number;
  readonly state: LayerState;
}

/** One pull in progress, as reported to clients. */
export interface PullProgress {
  /** The full name. */
  readonly reference: string;
  readonly elapsedMs: number;
  /** `resolve`, `verify`, `fetch`, `unpack`, `commit`. */
  readonly stage: string;
  /** The endpoint that has served the last content; undefined before the first. */
  readonly endpoint: string | undefined;
  /** The calls that wait for it. */
  readonly callers: number;
  /** Of the blobs in transfer that it waits for, over the last five seconds. */
  readonly bytesPerSecond: number;
  /** From the bottom to the top; none until the manifest is known. */
  readonly layers: readonly LayerProgress[];
}

/** One layer of one pull. */
export interface LayerMeter {
  readonly digest: Digest;
  readonly total: number;
  readonly chainId: string;
  /** Whether it is in the store. */
  finished: boolean;
}

/** What one endpoint has served of a pull. */
export interface Share {
  readonly kind: Served['kind'];
  /** Configs and layers. */
  readonly blobs: number;
  /** Manifests included. */
  readonly bytes: number;
}

const ALONE: Callers = { waiting: 1, total: 1 };

/** The live progress of a pull, and who has served what of it. */
export class PullMeter {
  /** The full name. */
  readonly reference: string;
  readonly started: number = performance.now();
  readonly callers: Callers;
  /** The current stage, by the name that the pull gives it. */
  stage = 'resolve';
  readonly layers: LayerMeter[] = [];
  /** By endpoint. */
  readonly shares = new Map<string, Share>();
  /** The first cause of each endpoint that did not serve what another one then did. */
  readonly failed = new Map<string, string>();
  readonly #fetched = new Set<Digest>();
  readonly #report: (served: Served, bytes: number) => void;
  #endpoint: string | undefined;

  /** `report`: called with all content that arrives. */
  constructor(
    reference: string,
    callers: Callers = ALONE,
    report: (served: Served, bytes: number) => void = () => {},
  ) {
    this.reference = reference;
    this.callers = callers;
    this.#report = report;
  }

  layer(digest: Digest, total: number, chainId: string): LayerMeter {
    const meter = { digest, total, chainId, finished: false };
    this.layers.push(meter);
    return meter;
  }

  /** Content has arrived: a blob of this digest, or a manifest. */
  served(served: Served, bytes: number, blob?: Digest): void {
    const { endpoint, kind, failed } = served;
    this.#report(served, bytes);
    const { blobs, bytes: sum } = this.shares.get(endpoint) ?? { blobs: 0, bytes: 0 };
    this.shares.set(endpoint, { kind, blobs: blobs + (blob ? 1 : 0), bytes: sum + bytes });
    if (blob) this.#fetched.add(blob);
    for (const { endpoint: other, cause } of failed)
      if (!this.failed.has(other)) this.failed.set(other, cause);
    this.#endpoint = endpoint;
  }

  /** The layers whose blobs this pull has fetched, and those that were there or that another pull has fetched. */
  get layerCounts(): { readonly fetched: number; readonly shared: number } {
    const fetched = this.layers.filter(({ digest }) => this.#fetched.has(digest)).length;
    return { fetched, shared: this.layers.length - fetched };
  }

  /** `isStored`: whether a blob is in the store. */
  snapshot(activity: Activity, isStored: (digest: Digest) => boolean): PullProgress {
    const layers = this.layers.map((layer) => progressOf(layer, activity, isStored));
    const transfers = new Set(this.layers.map(({ digest }) => activity.transferOf(digest)));
    return {
      reference: this.reference,
      elapsedMs: performance.now() - this.started,
      stage: stageOf(this.stage, layers),
      endpoint: this.#endpoint,
      callers: this.callers.waiting,
      bytesPerSecond: [...transfers].reduce((sum, transfer) => sum + (transfer?.rate() ?? 0), 0),
      layers,
    };
  }
}

function progressOf(
  { digest, total, chainId, finished }: LayerMeter,
  activity: Activity,
  isStored: (digest: Digest) => boolean,
): LayerProgress {
  if (finished) return { digest, total, done: total, state: 'done' };
  // A layer is unpacked while it arrives; what is shown is what takes the time.
  const transfer = activity.transferOf(digest);
  if (transfer) return { digest, total, done: Math.min(transfer.received, total), state: 'fetching' };
  if (activity.isUnpacking(chainId)) return { digest, total, done: total, state: 'unpacking' };
  return { digest, total, done: isStored(digest) ? total : 0, state: 'waiting' };
}

/** Layers are fetched and unpacked at the same time: the stage is `fetch` until all blobs are there. */
function stageOf(stage: string, layers: readonly LayerProgress[]): string {
  if (stage === 'config') return 'fetch';
  if (stage !== 'layers') return stage;
  return layers.some(({ done, total }) => done < total) ? 'fetch' : 'unpack';
}
