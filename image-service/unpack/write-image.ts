import { rmSync } from 'node:fs';
import { ErofsLayer, type FinishedImage } from '../erofs/index.ts';
import { isComplete } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import { fromSource, openSource, readArchive, type UnpackRequest } from './unpack-layer.ts';

export interface ImageRequest extends Omit<UnpackRequest, 'directory' | 'below'> {
  /** Where the image goes; does not exist. */
  readonly image: string;
  /** The directories of the layers below, from the top to the bottom; undefined: they are asked for when they are needed. */
  readonly lower: readonly string[] | undefined;
}

export interface WrittenLayer {
  readonly report: LayerReport;
  /** Whether it was completed against the layers below. */
  readonly completed: boolean;
  /** Undefined where the layer must be written again: see `redirects`. */
  readonly image: FinishedImage | undefined;
  /** See `Completion`; none where the layers below were needed and could not be waited for. */
  readonly redirects: LayerReport['links'];
}

/**
 * Writes a layer into an EROFS image on this thread and verifies it as `unpackLayer`. `below` gets the directories of the
 * layers below while the image is kept open; undefined: they are not to be waited for. Without an image the file is deleted,
 * after an error the caller does it.
 */
export async function writeImage(
  request: ImageRequest,
  below: () => Promise<readonly string[] | undefined>,
  signal: AbortSignal,
): Promise<WrittenLayer> {
  const { image, limits, lower } = request;
  const redirects = new Map(request.redirects);
  using source = openSource(request.archive);
  let open = new DisposableStack();
  const discard = (): void => {
    open.dispose();
    open = new DisposableStack();
    rmSync(image, { force: true });
  };
  try {
    const read = async (): Promise<ErofsLayer> => {
      const layer = open.use(new ErofsLayer(image, limits, redirects));
      await readArchive(layer, request, source, signal);
      return layer;
    };
    const layer = await fromSource(source, signal, read, discard);
    const report = layer.report();
    if (isComplete(report) && redirects.size === 0)
      return { report, completed: false, image: await layer.finishInTurns(signal), redirects: [] };
    const directories = lower ?? (await below());
    const completion = directories && (await layer.complete(directories, signal));
    if (completion?.redirects.length === 0)
      return { report, completed: true, image: await layer.finishInTurns(signal), redirects: [] };
    discard();
    return { report, completed: false, image: undefined, redirects: completion?.redirects ?? [] };
  } finally {
    open.dispose();
  }
}
