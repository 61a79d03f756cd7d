import { existsSync } from 'node:fs';
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
      const makeDirectories = () =>
        naming(`make the directories of ${root.target}`, () =>
          allEnded([upper, work, root.target].map((path) => mkdir(path, { recursive: true }))),
        );
      await this.#mountOverlay(
        root,
        layers,
        { op, makeDirectories },
        async ({ directories: lower, root: top }) => {
          // overlayfs shows the attributes of the topmost directory.
          await copyAttributes(top, upper);
          const options = labelOptions(root);
          // No container starts on its layer again after a power cut: its data needs no sync.
          await this.#mounts.overlay({ target: root.target, lower, upper, work, options, volatile: true });
        },
      );
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
      const makeDirectories = () =>
        naming(`make ${volume.target}`, () => mkdir(volume.target, { recursive: true }));
      await this.#mountOverlay(volume, layers, { op, makeDirectories }, async ({ directories, root }) => {
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

  /** The table of mounts grows with the node's pods: it is not read for a target that nobody has made yet. */
  #isMounted(path: string): boolean {
    if (!existsSync(path)) return false;
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
    { op, makeDirectories }: { readonly op: Operation; readonly makeDirectories: () => Promise<unknown> },
    mount: (lower: Lower) => Promise<void>,
  ): Promise<void> {
    using _held = this.#layers.hold(layers);
    const [{ directories, root }] = await allEnded([this.#lower(layers, op.signal), makeDirectories()]);
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
    const declaring = this.#layers.rootOf(layers);
    const [mounted, [declared]] = await Promise.all([
      this.#layers.mounted(layers, signal),
      declaring === undefined ? [] : this.#layers.mounted([declaring], signal),
    ]);
    const directories = mounted.length > 0 ? mounted : [this.#empty];
    // Where none declares it, all have the default.
    return { directories, root: declared ?? directories[0] ?? this.#empty };
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

/** Waits for all, also where one fails: the undo that follows must not be overtaken. Throws the error of the first that has failed. */
async function allEnded<const T extends readonly unknown[]>(
  running: T,
): Promise<{ -readonly [K in keyof T]: Awaited<T[K]> }> {
  await Promise.allSettled(running);
  return Promise.all(running);
}

/** Beside the target; goes with it. */
const rootAboveOf = (target: string): string => `${target}-root`;

/** Beside the target; unmounted with it. */
const viewOf = (target: string): string => `${target}-layers`;
