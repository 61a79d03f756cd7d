import { chmod, chown, mkdir, stat } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { naming } from '#linux/errno.ts';
import type { Mounts } from '#linux/kernel.ts';
import type { ImageStore } from './images.ts';
import type { LayerStore } from './layer-store.ts';

/** Root file systems of containers: an overlay of the image's layers under a directory of the container's own. */
export class RootFileSystems {
  readonly #images: ImageStore;
  readonly #layers: LayerStore;
  readonly #mounts: Mounts;
  /** An empty directory: the one layer of an image that has none. */
  readonly #empty: string;

  constructor(images: ImageStore, layers: LayerStore, mounts: Mounts, empty: string) {
    this.#images = images;
    this.#layers = layers;
    this.#mounts = mounts;
    this.#empty = empty;
  }

  /** See `RootFileSystems` in runtime-service/ports.ts. */
  async mount(root: { image: ImageId; directory: string; target: string }, op: Operation): Promise<void> {
    const record = this.#images.record(root.image);
    if (!record) {
      throw new CrispError('NotFound', `root file system of image ${root.image}: the image is not here`, {
        hint: 'pull the image again',
      });
    }
    await op.stage('mount rootfs', async () => {
      if (this.#mounts.below(root.target).some(({ target }) => target === root.target)) return;
      const stack = this.#layers.stack(record.layers);
      const lower = stack.length > 0 ? stack : [this.#empty];
      const upper = join(root.directory, 'upper');
      const work = join(root.directory, 'work');
      await naming(`make the directories of ${root.target}`, async () => {
        for (const path of [upper, work, root.target]) await mkdir(path, { recursive: true });
        await this.#likeTop(upper, lower[0] ?? this.#empty);
      });
      await this.#mounts.overlay({ target: root.target, lower, upper, work });
    });
  }

  /** Unmounts; what is not mounted is success. */
  unmount(target: string): Promise<void> {
    return this.#mounts.unmount(target);
  }

  /** Of a merged directory overlayfs shows the attributes of the top one, and the top of the root is the upper. */
  async #likeTop(upper: string, top: string): Promise<void> {
    const { mode, uid, gid } = await stat(top);
    await chown(upper, uid, gid);
    await chmod(upper, mode & 0o7777);
  }
}
