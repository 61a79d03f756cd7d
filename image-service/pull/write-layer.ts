import { CrispError, hasCode } from '#core/errors.ts';
import { type Descriptor, malformedImage } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { LayerRecord, LayerStore, StagedLayer } from '../store/layer-store.ts';
import { isComplete } from '../unpack/complete.ts';
import type { LayerReport } from '../unpack/layer-writer.ts';
import type { ImageReport } from '../unpack/sent-report.ts';
import type { Archive, Below, UnpackPool } from '../unpack/unpack-pool.ts';
import type { Unpacking } from './activity.ts';
import { deadlineOfProgress, deadlineToEnd, type Progress } from './deadline-to-end.ts';
import type { Blobs } from './fetch-blobs.ts';
import { inLayer } from './layer-failure.ts';
import { type LayerPlan, layerAt } from './layer-plan.ts';
import { logDropped } from './log-dropped.ts';
import { LayerStreams } from './stream-layer.ts';

/** Symlinks of lower layers that one layer may write through before it is refused as hostile. */
export const REDIRECT_ROUNDS = 16;

type Links = LayerReport['links'];

/** What a layer that is written needs of the others. */
export interface Surroundings {
  /** The directories of the layers below, from the top to the bottom, once they are there. */
  readonly below: Below;
  readonly unpacking: Unpacking;
}

/** One try of writing a layer. */
interface Round extends Surroundings {
  readonly plan: LayerPlan;
  readonly index: number;
  readonly redirects: Links;
  readonly staged: StagedLayer;
}

interface Taking {
  readonly limited: AbortSignal;
  readonly started: () => void;
  /** To be called where the archive is read and its layer waits for others. */
  readonly read: () => void;
  readonly progress: Progress;
}

/** Writes one layer: from its archive, as that arrives, to the layer in the store. */
export class LayerWriting {
  readonly #options: Pick<ImageServiceOptions, 'unpackMs' | 'limits'>;
  readonly #content: ContentStore;
  readonly #store: LayerStore;
  readonly #pool: UnpackPool;
  readonly #blobs: Blobs;
  readonly #streams: LayerStreams;

  constructor(
    options: Pick<ImageServiceOptions, 'unpackMs' | 'limits' | 'keepBlobs'>,
    content: ContentStore,
    store: LayerStore,
    pool: UnpackPool,
    blobs: Blobs,
  ) {
    this.#options = options;
    this.#content = content;
    this.#store = store;
    this.#pool = pool;
    this.#blobs = blobs;
    this.#streams = new LayerStreams(options, content, blobs);
  }

  /** The plan's layer of this index. Only a finished layer remains when this settles. */
  async write(
    plan: LayerPlan,
    index: number,
    around: Surroundings,
    signal: AbortSignal,
  ): Promise<LayerRecord> {
    const { blob, archive } = layerAt(plan, index);
    this.#refuseEndless(index, blob);
    let redirects: Links = [];
    for (let round = 0; round < REDIRECT_ROUNDS; round++) {
      // Read a second time or more often, which is rare: from a file.
      if (round > 0 && archive === undefined) await this.#blobs.fetch(plan, blob, signal);
      const result = await this.#round(plan, index, around, redirects, signal).catch(async (error) => {
        // A file may have been damaged on the disk: the next pull fetches it again.
        if (hasCode(error, 'DataLoss') && this.#content.has(blob.digest))
          await this.#content.remove(blob.digest);
        throw error;
      });
      if ('key' in result) return result;
      redirects = [...redirects, ...result.redirects];
    }
    throw malformedImage(
      `layer ${index} (${blob.digest})`,
      'it writes through too many symlinks of the layers below',
    );
  }

  /** All of a blob is read, also of one that unpacks to too much: only then it is known whether these are its bytes. */
  #refuseEndless(index: number, { digest, size }: Descriptor): void {
    const { layerBytes } = this.#options.limits;
    if (size <= layerBytes) return;
    const why = `it has ${size} bytes by its manifest, and may unpack to no more than ${layerBytes} bytes`;
    throw new CrispError('ResourceExhausted', `layer ${index} (${digest}): ${why}`, {
      hint: "raise the limit of a layer's unpacked bytes, if the image is trusted",
    });
  }

  /** One try: the layer, or paths that are symlinks below, so that it must be written again. */
  async #round(
    plan: LayerPlan,
    index: number,
    { below, unpacking }: Surroundings,
    redirects: Links,
    signal: AbortSignal,
  ): Promise<LayerRecord | { readonly redirects: Links }> {
    const { form } = this.#store.form;
    await using staged = await this.#store.stage(form);
    const write = form === 'erofs' ? this.#image : this.#directory;
    const step = () => write.call(this, { plan, index, redirects, staged, below, unpacking }, signal);
    return await plan.op.stage('unpack', step, `layer ${index}`);
  }

  async #image(to: Round, signal: AbortSignal): Promise<LayerRecord | { readonly redirects: Links }> {
    const { plan, index, redirects, staged } = to;
    const { blob } = layerAt(plan, index);
    /** Why a layer below was not got: its error names that one. */
    let lost: unknown;
    const written = await this.#archive(to, signal, (archive, { limited, started, read, progress }) => {
      const below: Below = (waiting) => {
        read();
        return progress.waiting(to.below(waiting)).catch((error) => {
          lost = error;
          throw error;
        });
      };
      const request = { ...this.#request(to, archive), image: staged.image };
      return this.#pool.writeImage(request, below, limited, started).catch((error) => {
        throw error === lost ? error : inLayer(error, index, blob.digest);
      });
    });
    // Of a thread that had to be ended it is written anew.
    if (!written) return { redirects: [] };
    const { report, image, completed } = written;
    if (redirects.length === 0) logDropped(plan.op, blob.digest, report);
    if (!image) return written;
    const { digest, bytes, inodes } = image;
    const layer = { ...this.#recordOf(to, report, !completed), image: { digest, bytes }, bytes, inodes };
    return await this.#store.commit(staged, layer);
  }

  async #directory(to: Round, signal: AbortSignal): Promise<LayerRecord | { readonly redirects: Links }> {
    const { plan, index, redirects, staged } = to;
    const { blob } = layerAt(plan, index);
    const named = (error: unknown): never => {
      throw inLayer(error, index, blob.digest);
    };
    const report = await this.#archive(to, signal, (archive, { limited, started }) =>
      this.#pool
        .unpack({ ...this.#request(to, archive), directory: staged.fs }, limited, started)
        .catch(named),
    );
    if (redirects.length === 0) logDropped(plan.op, blob.digest, report);
    if (isComplete(report) && redirects.length === 0) {
      const { bytes, inodes } = report;
      return await this.#store.commit(staged, { ...this.#recordOf(to, report, true), bytes, inodes });
    }
    const lower = await to.below(signal);
    const complete = (limited: AbortSignal) => this.#pool.complete(staged.fs, lower, report, limited);
    const what = `complete ${blob.digest}`;
    const completion = await deadlineToEnd(what, this.#options.unpackMs, signal, complete).catch(named);
    if (completion.redirects.length > 0) return completion;
    const bytes = report.bytes + completion.bytes;
    const inodes = report.inodes + completion.inodes;
    return await this.#store.commit(staged, { ...this.#recordOf(to, report, false), bytes, inodes });
  }

  #recordOf({ plan, index }: Round, { rootOpaque, rootDeclared }: ImageReport, isSelfContained: boolean) {
    const { diffId, chainId } = layerAt(plan, index);
    const key = this.#store.keyOf(diffId, chainId, isSelfContained);
    return { key, diffId, rootOpaque, ...(rootDeclared ? {} : { rootDeclared }) };
  }

  #request({ plan, index, redirects }: Round, archive: Archive) {
    const { blob, diffId } = layerAt(plan, index);
    return { archive, compressedSize: blob.size, diffId, limits: this.#options.limits, redirects };
  }

  /** Takes the archive of the layer, as it arrives. */
  #archive<T>(
    { plan, index, unpacking }: Round,
    signal: AbortSignal,
    take: (archive: Archive, by: Taking) => Promise<T>,
  ): Promise<T> {
    const { blob, archive: file } = layerAt(plan, index);
    return deadlineOfProgress(
      `layer ${index} (${blob.digest}): unpack`,
      this.#options.unpackMs,
      signal,
      (limited, progress) =>
        this.#streams.take(
          plan,
          { ...blob, file },
          (archive, both, started, read) => take(archive, { limited: both, started, read, progress }),
          { unpacking, progress },
          limited,
        ),
    );
  }
}
