import { mkdir, stat } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { LayerReport } from '../unpack/layer-writer.ts';
import type { UnpackPool } from '../unpack/unpack-pool.ts';
import { deadlineToEnd } from './deadline-to-end.ts';
import { logDropped } from './log-dropped.ts';
import { REDIRECT_ROUNDS } from './write-layer.ts';

/** Unpacks writable layers of containers, by the threads and within the limits of image layers. */
export class LayerRestoring {
  readonly #options: Pick<ImageServiceOptions, 'unpackMs' | 'limits'>;
  readonly #pool: UnpackPool;
  readonly #files: Pick<Files, 'removeTree'>;

  constructor(
    options: Pick<ImageServiceOptions, 'unpackMs' | 'limits'>,
    pool: UnpackPool,
    files: Pick<Files, 'removeTree'>,
  ) {
    this.#options = options;
    this.#pool = pool;
    this.#files = files;
  }

  /** Replaces the directory. `lower` are the layers below, from the top to the bottom. */
  async unpack(
    layer: { readonly archive: string; readonly directory: string; readonly lower: readonly string[] },
    op: Operation,
  ): Promise<void> {
    const { archive, directory, lower } = layer;
    const { limits, unpackMs } = this.#options;
    const { size: compressedSize } = await naming(`stat ${archive}`, () => stat(archive));
    let redirects: LayerReport['links'] = [];
    for (let round = 0; round < REDIRECT_ROUNDS; round++) {
      await this.#files.removeTree(directory);
      await naming(`make ${directory}`, () => mkdir(directory, { recursive: true }));
      const request = { archive, compressedSize, directory, diffId: undefined, limits, redirects };
      const run = async (signal: AbortSignal) => {
        const report = await this.#pool.unpack(request, signal);
        if (round === 0) logDropped(op, archive, report);
        return this.#pool.complete(directory, lower, report, signal);
      };
      const completion = await op.stage('unpack layer', () =>
        deadlineToEnd(`unpack ${archive}`, unpackMs, op.signal, run),
      );
      if (completion.redirects.length === 0) return;
      redirects = [...redirects, ...completion.redirects];
    }
    throw new CrispError('DataLoss', `${archive}: it writes through too many symlinks of the layers below`, {
      hint: 'create the checkpoint again',
    });
  }
}
