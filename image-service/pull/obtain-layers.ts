import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { unlessAborted } from '#core/single-flight.ts';
import { chainIds } from '../image/image-config.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { LayerRecord, LayerStore } from '../store/layer-store.ts';
import type { UnpackPool } from '../unpack/unpack-pool.ts';
import type { Activity } from './activity.ts';
import { allOrNone } from './all-or-none.ts';
import type { Blobs } from './fetch-blobs.ts';
import { type LayerPlan, layerAt } from './layer-plan.ts';
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
  readonly #activity: Activity;
  readonly #layers = new SharedWork<LayerRecord>({ untilEnd: true });
  /** Until when a layer of this diff id is written: most can be used on top of any chain. */
  readonly #diffs = new Map<string, Promise<void>>();

  constructor(
    options: LayerOptions,
    content: ContentStore,
    store: LayerStore,
    pool: UnpackPool,
    blobs: Blobs,
    activity: Activity,
  ) {
    this.#store = store;
    this.#writing = new LayerWriting(options, content, store, pool, blobs);
    this.#activity = activity;
  }

  /** The plan's layer of this index. If it fails or is aborted, only finished layers remain when this settles. */
  async obtain(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const layer = layerAt(plan, index);
    const known = this.#store.find(layer.diffId, layer.chainId);
    const start = (shared: AbortSignal) => this.#create(plan, index, shared);
    const record = known ?? (await this.#layers.runAuthorized(layer.chainId, signal, start));
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
    using held = new DisposableStack();
    try {
      const below = (limited: AbortSignal) => {
        independent(); // what is below may be a layer of the same diff id
        return this.#below(plan, index, limited, held);
      };
      return await this.#writing.write(plan, index, { below, unpacking }, signal);
    } finally {
      independent();
    }
  }

  /** The layers below, from the top to the bottom. Waits for them like any pull, with its own signal. */
  async #below(
    plan: LayerPlan,
    index: number,
    signal: AbortSignal,
    held: DisposableStack,
  ): Promise<string[]> {
    const lower = plan.layers.slice(0, index);
    const steps = lower.map((_, at) => (shared: AbortSignal) => this.obtain(plan, at, shared));
    const keys = (await allOrNone('layer of the image', signal, steps)).map(({ key }) => key);
    signal.throwIfAborted();
    if (held.disposed) throw new CrispError('Cancelled', 'the layer is written no more');
    held.use(this.#store.hold(keys));
    return this.#store.mounted(keys, signal);
  }
}
