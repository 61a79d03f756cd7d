import { mkdir, rmdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { copyAttributes } from '#linux/fs/copy-attributes.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Mounts } from '#linux/ports/kernel.ts';
import { withIdMapped } from './id-mapped-layers.ts';
import type { LayerRestoring } from './pull/layer-restoring.ts';
import type { ImageStore } from './store/images.ts';
import type { LayerStore } from './store/layer-store.ts';

type LayersForMounts = Pick<LayerStore, 'mounted' | 'rootOf' | 'hold' | 'directory'>;

/** Directories for an overlay, from the top to the bottom, and the one whose attributes the root has. */
interface Lower {
  readonly directories: readonly string[];
  readonly root: string;
}

/** Root file systems of containers: an overlay of the image's layers under a writable directory of the container. */
export class RootFileSystems {
  readonly #images: Pick<ImageStore, 'record'>;
  readonly #layers: LayersForMounts;
  readonly #mounts: Mounts;
  readonly #restoring: Pick<LayerRestoring, 'unpack'>;
  /** An empty directory: the one layer of an image that has none. */
  readonly #empty: string;

  constructor(
    images: Pick<ImageStore, 'record'>,
    layers: LayersForMounts,
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
  async mount(root: RootRequest & { readonly directory: string }, op: Operation): Promise<void> {
    const layers = this.#layersOf(root.image);
    await op.stage('mount rootfs', async () => {
      if (this.#isMounted(root.target)) return;
      const upper = join(root.directory, 'upper');
      const work = join(root.directory, 'work');
      await this.#mountOverlay(root, layers, op, async ({ directories: lower, root: top }) => {
        await naming(`make the directories of ${root.target}`, async () => {
          for (const path of [upper, work, root.target]) await mkdir(path, { recursive: true });
        });
        // overlayfs shows the attributes of the topmost directory.
        await copyAttributes(top, upper);
        const options = labelOptions(root);
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
      await this.#mountOverlay(volume, layers, op, async ({ directories, root }) => {
        const options = labelOptions(volume);
        // A single layer would be a bind mount, which has no label of its own.
        const isOverlay = directories[0] === root && (options.length === 0 || directories.length > 1);
        const top = isOverlay ? [] : [await this.#rootAbove(volume.target, root)];
        await this.#mounts.overlay({ target: volume.target, lower: [...top, ...directories], options });
      });
    });
  }

  /** Unmounts, also the id-mapped layers that a crash may have left; what is not mounted is success. */
  async unmount(target: string): Promise<void> {
    await this.#mounts.unmount(target);
    await this.#mounts.unmount(viewOf(target));
    await naming(`remove ${rootAboveOf(target)}`, () => rmdir(rootAboveOf(target))).catch((error) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
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
    mount: (lower: Lower) => Promise<void>,
  ): Promise<void> {
    using _held = this.#layers.hold(layers);
    const { directories, root } = await this.#lower(layers, op.signal);
    if (userNamespace === undefined) return await mount({ directories, root });
    const view = { path: viewOf(target), idMap: userNamespace, common: this.#layers.directory };
    // The layer that declares the root may be hidden.
    const all = directories.includes(root) ? directories : [...directories, root];
    await withIdMapped(this.#mounts, view, all, (mapped) => {
      const top = mapped[all.indexOf(root)] ?? this.#empty;
      return mount({ directories: mapped.slice(0, directories.length), root: top });
    });
  }

  async #lower(layers: readonly string[], signal: AbortSignal): Promise<Lower> {
    const mounted = await this.#layers.mounted(layers, signal);
    const directories = mounted.length > 0 ? mounted : [this.#empty];
    const declaring = this.#layers.rootOf(layers);
    // Where none declares it, all have the default.
    const [root] = declaring === undefined ? directories : await this.#layers.mounted([declaring], signal);
    return { directories, root: root ?? this.#empty };
  }

  /** A directory for the top of a mount that has no writable one. */
  async #rootAbove(target: string, root: string): Promise<string> {
    const path = rootAboveOf(target);
    await naming(`make ${path}`, () => mkdir(path, { recursive: true }));
    await copyAttributes(root, path);
    return path;
  }
}

/** What is mounted where, and the pinned user namespace whose id mapping applies. */
interface RootRequest {
  readonly image: ImageId;
  readonly target: string;
  readonly userNamespace?: string | undefined;
  /** The SELinux label of all files. */
  readonly label?: string | undefined;
}

const labelOptions = ({ label }: RootRequest): string[] => (label === undefined ? [] : [`context=${label}`]);

/** Beside the target; goes with it. */
const rootAboveOf = (target: string): string => `${target}-root`;

/** Beside the target; unmounted with it. */
const viewOf = (target: string): string => `${target}-layers`;
