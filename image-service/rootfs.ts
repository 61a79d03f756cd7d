import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { withIdMapped } from './id-mapped-layers.ts';
import type { LayerRestoring } from './pull/layer-restoring.ts';
import type { ImageStore } from './store/images.ts';
import type { LayerStore } from './store/layer-store.ts';

/** Root file systems of containers: an overlay of the image's layers under a writable directory of the container. */
export class RootFileSystems {
  readonly #images: Pick<ImageStore, 'record'>;
  readonly #layers: Pick<LayerStore, 'mounted' | 'hold' | 'directory'>;
  readonly #mounts: Mounts;
  readonly #restoring: Pick<LayerRestoring, 'unpack'>;
  /** An empty directory: the one layer of an image that has none. */
  readonly #empty: string;

  constructor(
    images: Pick<ImageStore, 'record'>,
    layers: Pick<LayerStore, 'mounted' | 'hold' | 'directory'>,
    mounts: Mounts,
    restoring: Pick<LayerRestoring, 'unpack'>,
    empty: string,
  ) {
    this.#images = images;
    this.#layers = layers;
    this.#mounts = mounts;
    this.#restoring = restoring;
    this.#empty = empty;
  }

  /** See `RootFileSystems` in runtime-service/ports.ts. */
  async mount(
    root: RootRequest & { readonly directory: string; readonly label?: string | undefined },
    op: Operation,
  ): Promise<void> {
    const layers = this.#layersOf(root.image);
    await op.stage('mount rootfs', async () => {
      if (this.#isMounted(root.target)) return;
      const upper = join(root.directory, 'upper');
      const work = join(root.directory, 'work');
      await this.#mountOverlay(root, layers, op, async (lower) => {
        await naming(`make the directories of ${root.target}`, async () => {
          for (const path of [upper, work, root.target]) await mkdir(path, { recursive: true });
          await this.#copyRootAttributes(upper, lower[0] ?? this.#empty);
        });
        const options = root.label === undefined ? [] : [`context=${root.label}`];
        // No container starts on its layer again after a power cut: its data needs no sync.
        await this.#mounts.overlay({ target: root.target, lower, upper, work, options, volatile: true });
      });
    });
  }

  /** See `RootFileSystems` in runtime-service/ports.ts. */
  async restoreLayer(
    layer: { readonly image: ImageId; readonly directory: string; readonly archive: string },
    op: Operation,
  ): Promise<void> {
    const layers = this.#layersOf(layer.image);
    using _held = this.#layers.hold(layers);
    const lower = await this.#layers.mounted(layers, op.signal);
    const directory = join(layer.directory, 'upper');
    await this.#restoring.unpack({ archive: layer.archive, directory, lower }, op);
  }

  /** See `RootFileSystems` in runtime-service/ports.ts. */
  async mountVolume(volume: RootRequest, op: Operation): Promise<void> {
    const layers = this.#layersOf(volume.image);
    await op.stage('mount image volume', async () => {
      if (this.#isMounted(volume.target)) return;
      await naming(`make ${volume.target}`, () => mkdir(volume.target, { recursive: true }));
      await this.#mountOverlay(volume, layers, op, (lower) =>
        this.#mounts.overlay({ target: volume.target, lower }),
      );
    });
  }

  /** Unmounts, also the id-mapped layers that a crash may have left; what is not mounted is success. */
  async unmount(target: string): Promise<void> {
    await this.#mounts.unmount(target);
    await this.#mounts.unmount(viewOf(target));
  }

  #isMounted(path: string): boolean {
    return this.#mounts.below(path).some(({ target }) => target === path);
  }

  #layersOf(image: ImageId): readonly string[] {
    const record = this.#images.record(image);
    if (record) return record.layers;
    throw new CrispError('NotFound', `root file system of image ${image}: the image is not in the store`, {
      hint: 'pull the image again',
    });
  }

  /** Mounts with the layers as they are or, for a user namespace, id-mapped. An overlay holds its lower layers itself. */
  async #mountOverlay(
    { target, userNamespace }: RootRequest,
    layers: readonly string[],
    op: Operation,
    mount: (lower: readonly string[]) => Promise<void>,
  ): Promise<void> {
    using _held = this.#layers.hold(layers);
    const mounted = await this.#layers.mounted(layers, op.signal);
    const lower = mounted.length > 0 ? mounted : [this.#empty];
    if (userNamespace === undefined) return await mount(lower);
    const view = { path: viewOf(target), idMap: userNamespace, common: this.#layers.directory };
    await withIdMapped(this.#mounts, view, lower, mount);
  }

  /** overlayfs shows the attributes of the topmost directory, which for the root is `upper`. */
  async #copyRootAttributes(upper: string, top: string): Promise<void> {
    const { mode, uid, gid } = await stat(top);
    await chown(upper, uid, gid);
    await chmod(upper, mode & 0o7777);
  }
}

/** What is mounted where, and the pinned user namespace whose id mapping applies. */
interface RootRequest {
  readonly image: ImageId;
  readonly target: string;
  readonly userNamespace?: string | undefined;
}

/** Beside the target; unmounted with it. */
const viewOf = (target: string): string => `${target}-layers`;
