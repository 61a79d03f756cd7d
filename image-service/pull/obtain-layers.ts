import { hasCode } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { chainIds } from '../image/image-config.ts';
import { type Descriptor, malformedImage } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import {
  chainKey,
  diffKey,
  type LayerRecord,
  type LayerStore,
  type StagedLayer,
} from '../store/layer-store.ts';
import { isComplete } from '../unpack/complete.ts';
import { shown } from '../unpack/entry.ts';
import type { LayerReport } from '../unpack/layer-writer.ts';
import type { UnpackPool } from '../unpack/unpack-pool.ts';
import type { Activity } from './activity.ts';
import { allOrNone } from './all-or-none.ts';
import { deadlineToEnd } from './deadline-to-end.ts';
import type { BlobSource, Blobs } from './fetch-blobs.ts';
import { inLayer } from './layer-failure.ts';
import type { LayerMeter, PullMeter } from './progress.ts';
import { SharedWork } from './shared-work.ts';

/** Symlinks of lower layers that one layer may write through before it is refused as hostile. */
export const REDIRECT_ROUNDS = 16;

/** The layers of one pull, from the bottom to the top. */
export interface LayerPlan extends BlobSource {
  /** For messages. */
  readonly image: string;
  readonly layers: readonly {
    readonly blob: Descriptor;
    readonly diffId: string;
    readonly chainId: string;
    readonly meter: LayerMeter;
  }[];
}

/** The plan for the layers of a manifest, whose config has as many diff ids as it has layers. */
export function layerPlan(
  source: LayerPlan['source'],
  op: Operation,
  manifest: { readonly layers: readonly Descriptor[] },
  diffIds: readonly string[],
  meter: PullMeter,
): LayerPlan {
  const chain = chainIds(diffIds);
  const layers = manifest.layers.map((blob, index) => ({
    blob,
    diffId: diffIds[index] ?? '',
    chainId: chain[index] ?? '',
    meter: meter.layer(blob.digest, blob.size, chain[index] ?? ''),
  }));
  return { image: meter.reference, source, op, layers };
}

type LayerOptions = Pick<ImageServiceOptions, 'unpackMs' | 'limits'>;

/**
 * Gets layers: blob from the registry, unpacked, in the store. All layers of an image are got at once and each blob and
 * each layer once, however many pulls ask; only what must be completed against its chain waits for those below.
 */
export class Layers {
  readonly #options: LayerOptions;
  readonly #content: ContentStore;
  readonly #store: LayerStore;
  readonly #pool: UnpackPool;
  readonly #blobs: Blobs;
  readonly #activity: Activity;
  readonly #layers = new SharedWork<LayerRecord>({ untilEnd: true });

  constructor(
    options: LayerOptions,
    content: ContentStore,
    store: LayerStore,
    pool: UnpackPool,
    blobs: Blobs,
    activity: Activity,
  ) {
    this.#options = options;
    this.#content = content;
    this.#store = store;
    this.#pool = pool;
    this.#blobs = blobs;
    this.#activity = activity;
  }

  /** The plan's layer of this index. If it fails or is aborted, only finished blobs and layers remain when this settles. */
  async obtain(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const layer = layerAt(plan, index);
    const known = this.#store.find(layer.diffId, layer.chainId);
    const record =
      known ?? (await this.#layers.run(layer.chainId, signal, (shared) => this.#create(plan, index, shared)));
    layer.meter.finished = true;
    return record;
  }

  async #create(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const { blob, chainId } = layerAt(plan, index);
    await this.#blobs.fetch(plan, blob, signal);
    using _unpacking = this.#activity.unpack(chainId);
    try {
      return await plan.op.stage('unpack', () => this.#unpack(plan, index, signal), `layer ${index}`);
    } catch (error) {
      // The blob itself may have been damaged on the disk: the next pull fetches it again.
      if (hasCode(error, 'DataLoss')) await this.#content.remove(blob.digest);
      throw error;
    }
  }

  async #unpack(plan: LayerPlan, index: number, signal: AbortSignal): Promise<LayerRecord> {
    const { blob, diffId, chainId } = layerAt(plan, index);
    let redirects: LayerReport['links'] = [];
    for (let round = 0; round < REDIRECT_ROUNDS; round++) {
      await using staged = await this.#store.stage();
      const report = await this.#write(blob, diffId, staged, redirects, signal).catch((error) => {
        throw inLayer(error, index, blob.digest);
      });
      if (round === 0) logDropped(plan.op, blob.digest, report);
      const record = { diffId, rootOpaque: report.rootOpaque };
      if (isComplete(report) && redirects.length === 0) {
        const { bytes, inodes } = report;
        return await this.#store.commit(staged, { ...record, key: diffKey(diffId), bytes, inodes });
      }
      const lower = await this.#below(plan, index, signal);
      const what = `complete ${blob.digest}`;
      const completion = await deadlineToEnd(what, this.#options.unpackMs, signal, (limited) =>
        this.#pool.complete(staged.fs, lower, report, limited),
      ).catch((error) => {
        throw inLayer(error, index, blob.digest);
      });
      if (completion.redirects.length === 0) {
        const bytes = report.bytes + completion.bytes;
        const inodes = report.inodes + completion.inodes;
        return await this.#store.commit(staged, { ...record, key: chainKey(chainId), bytes, inodes });
      }
      redirects = [...redirects, ...completion.redirects];
    }
    throw malformedImage(
      `layer ${index} (${blob.digest})`,
      'it writes through too many symlinks of the layers below',
    );
  }

  #write(
    blob: Descriptor,
    diffId: string,
    staged: StagedLayer,
    redirects: LayerReport['links'],
    signal: AbortSignal,
  ): Promise<LayerReport> {
    const { limits, unpackMs } = this.#options;
    const archive = this.#content.path(blob.digest);
    const request = { archive, compressedSize: blob.size, directory: staged.fs, diffId, limits, redirects };
    return deadlineToEnd(`unpack ${blob.digest}`, unpackMs, signal, (limited) =>
      this.#pool.unpack(request, limited),
    );
  }

  /** The layers below, from the top to the bottom. Waits for them like any pull, with its own signal. */
  async #below(plan: LayerPlan, index: number, signal: AbortSignal): Promise<string[]> {
    const lower = plan.layers.slice(0, index);
    const steps = lower.map((_, at) => (shared: AbortSignal) => this.obtain(plan, at, shared));
    return this.#store.stack((await allOrNone('layer of the image', signal, steps)).map(({ key }) => key));
  }
}

/** Warns of the extended attributes that were not set on the files of a layer. */
export function logDropped({ log }: Operation, layer: string, { dropped }: LayerReport): void {
  if (dropped.length === 0) return;
  const attributes = dropped.map(({ name, path, files }) => ({
    name: shown(name),
    path: shown(path),
    files,
  }));
  log.warn({ layer, attributes }, 'extended attributes of a layer are dropped');
}

function layerAt(plan: LayerPlan, index: number): LayerPlan['layers'][number] {
  const layer = plan.layers[index];
  if (!layer) throw malformedImage('image', `it has no layer ${index}`);
  return layer;
}
