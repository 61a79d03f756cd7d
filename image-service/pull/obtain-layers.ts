import type { Operation } from '#core/operation.ts';
import { unlessAborted } from '#core/single-flight.ts';
import { chainIds } from '../image/image-config.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { LayerRecord, LayerStore } from '../store/layer-store.ts';
import type { UnpackPool } from '../unpack/unpack-pool.ts';
import type { Activity } from './activity.ts';
import type { Blobs } from './fetch-blobs.ts';
import { type LayerPlan, layerAt } from './layer-plan.ts';
import { LowerLayers } from './lower-layers.ts';
import type { PullMeter } from './progress.ts';
import { SharedWork } from './shared-work.ts';
import { LayerWriting } from './write-layer.ts';

export type { LayerPlan } from './layer-plan.ts';

/** The plan for the layers of a manifest, whose config has as many diff ids as it has layers. `archiveOf`: its file. */
export function layerPlan(
  source: LayerPlan['source'],
  op: Operation,
  manifest: { readonly layers: readonly Descriptor[] },
  diffIds: readonly string[],
  meter: PullMeter,
  archiveOf: (blob: Descriptor) => string | undefined = () => undefined,
): LayerPlan {
  const chain = chainIds(diffIds);
  const layers = manifest.layers.map((blob, index) => ({
    blob,
    diffId: diffIds[index] ?? '',
    chainId: chain[index] ?? '',
    meter: meter.layer(blob.digest, blob.size, chain[index] ?? ''),
    archive: archiveOf(blob),
  }));
  return { image: meter.reference, source, op, layers };
}

type LayerOptions = Pick<ImageServiceOptions, 'unpackMs' | 'limits' | 'keepBlobs'>;

/**
 * Gets layers: from the registry, unpacked as they arrive, in the store. All layers of an image are got at once and each
 * once, however many pulls ask; only what must be completed against its chain waits for those below.
 */
export class Layers {
  readonly #store: LayerStore;
  readonly #writing: LayerWriting;
  readonly #pool: UnpackPool;
  readonly #activity: Activity;
  readonly #layers = new SharedWork<LayerRecord>({ untilEnd: true });
  /** Until when a layer of this diff id is written: most can be used on top of any chain. */
  readonly #diffs = new Map<string, Promise<void>>();
  /** Of plans of which a layer is written, and by how many. */
  readonly #lower = new Map<LayerPlan, { readonly layers: LowerLayers; users: number }>();

  constructor(
    options: LayerOptions,
    content: ContentStore,
    store: LayerStore,
    pool: UnpackPool,
    blobs: Blobs,
    activity: Activity,
  ) {
    this.#store = store;
    this.#pool = pool;
    this.#writing = new LayerWriting(options, content, store, pool, blobs);
    this.#activity = activity;
  }

  /** An image that is not there is being resolved: see `UnpackPool.prepare`. */
  prepare(): void {
    this.#pool.prepare();
  }

  /** The plan's layer of this index. If it fails or is aborted, only finished layers remain when this settles. */
  async obtain(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const layer = layerAt(plan, index);
    const known = this.#store.find(layer.diffId, layer.chainId);
    const start = (shared: AbortSignal) => this.#create(plan, index, shared);
    const record = known ?? (await this.#layers.runFromSource(layer.chainId, signal, start));
    layer.meter.finished = true;
    return record;
  }

  async #create(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const { diffId, chainId } = layerAt(plan, index);
    for (let other = this.#diffs.get(diffId); other; other = this.#diffs.get(diffId)) {
      await unlessAborted(other, signal);
      const known = this.#store.find(diffId, chainId);
      if (known) return known;
    }
    const { promise, resolve } = Promise.withResolvers<void>();
    this.#diffs.set(diffId, promise);
    const independent = (): void => {
      if (this.#diffs.get(diffId) === promise) this.#diffs.delete(diffId);
      resolve();
    };
    using unpacking = this.#activity.unpack(chainId);
    using lower = this.#lowerOf(plan);
    try {
      const below = (limited: AbortSignal) => {
        independent(); // what is below may be a layer of the same diff id
        return lower.layers.directories(index, limited);
      };
      return await this.#writing.write(plan, index, { below, unpacking }, signal);
    } finally {
      independent();
    }
  }

  /** The plan's layers for those above them, which wait for them like any pull, each with its own signal. */
  #lowerOf(plan: LayerPlan): Disposable & { readonly layers: LowerLayers } {
    const known = this.#lower.get(plan);
    const shared = known ?? {
      layers: new LowerLayers((index, signal) => this.obtain(plan, index, signal), this.#store),
      users: 0,
    };
    if (!known) this.#lower.set(plan, shared);
    shared.users++;
    return {
      layers: shared.layers,
      [Symbol.dispose]: () => {
        if (--shared.users > 0) return;
        this.#lower.delete(plan);
        shared.layers[Symbol.dispose]();
      },
    };
  }
}
