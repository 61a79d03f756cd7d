import { CrispError } from '#core/errors.ts';
import type { LayerRecord, LayerStore } from '../store/layer-store.ts';
import { allOrNone } from './all-or-none.ts';
import { SharedWork } from './shared-work.ts';

/** A layer as one that another is completed against. */
interface LowerLayer {
  readonly directory: string;
  readonly rootOpaque: boolean;
}

/**
 * The layers of one image, for those of them that wait for the ones below: each is obtained and mounted once, and stays
 * mounted, however many wait.
 */
export class LowerLayers implements Disposable {
  readonly #obtain: (index: number, signal: AbortSignal) => Promise<LayerRecord>;
  readonly #store: Pick<LayerStore, 'hold' | 'mounted'>;
  readonly #running = new SharedWork<readonly string[]>({ untilEnd: true });
  /** By the number of layers. */
  readonly #found = new Map<number, readonly string[]>();
  readonly #held = new DisposableStack();

  constructor(
    obtain: (index: number, signal: AbortSignal) => Promise<LayerRecord>,
    store: Pick<LayerStore, 'hold' | 'mounted'>,
  ) {
    this.#obtain = obtain;
    this.#store = store;
  }

  /** The directories of the lowest `count` layers as an overlay needs them, from the top to the bottom. */
  async directories(count: number, signal: AbortSignal): Promise<readonly string[]> {
    if (count === 0) return [];
    const known = this.#found.get(count);
    return known ?? (await this.#running.run(String(count), signal, (shared) => this.#find(count, shared)));
  }

  [Symbol.dispose](): void {
    this.#held.dispose();
  }

  async #find(count: number, signal: AbortSignal): Promise<readonly string[]> {
    const top = Promise.withResolvers<LowerLayer>();
    const lower = Promise.withResolvers<readonly string[]>();
    await allOrNone('layer of the image', signal, [
      async (both) => top.resolve(await this.#mount(count - 1, both)),
      async (both) => lower.resolve(await this.directories(count - 1, both)),
    ]);
    const { directory, rootOpaque } = await top.promise;
    // As `LayerStore.mounted`: a repeated layer is hidden by its upper occurrence.
    const below = rootOpaque ? [] : (await lower.promise).filter((path) => path !== directory);
    const found = [directory, ...below];
    this.#found.set(count, found);
    return found;
  }

  async #mount(index: number, signal: AbortSignal): Promise<LowerLayer> {
    const { key, rootOpaque } = await this.#obtain(index, signal);
    signal.throwIfAborted();
    if (this.#held.disposed) throw new CrispError('Cancelled', 'the layers above are written no more');
    this.#held.use(this.#store.hold([key]));
    const [directory = ''] = await this.#store.mounted([key], signal);
    return { directory, rootOpaque };
  }
}
