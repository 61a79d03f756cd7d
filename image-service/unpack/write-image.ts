import { rmSync } from 'node:fs';
import { ErofsLayer, type FinishedImage } from '../erofs/index.ts';
import { isComplete } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import { fromSource, openSource, readArchive, type UnpackRequest } from './unpack-layer.ts';

export interface ImageRequest extends Omit<UnpackRequest, 'archive' | 'directory' | 'below'> {
  /** Undefined once it was read: a window of memory is not kept while the image waits. */
  archive: UnpackRequest['archive'] | undefined;
  /** Where the image goes; does not exist. */
  readonly image: string;
}

export interface WrittenLayer {
  readonly report: LayerReport;
  /** Whether it was completed against the layers below. */
  readonly completed: boolean;
  /** Undefined where the layer must be written again: see `redirects`. */
  readonly image: FinishedImage | undefined;
  /** See `Completion`. */
  readonly redirects: LayerReport['links'];
}

/**
 * Writes a layer into an EROFS image on this thread and verifies it as `unpackLayer`. `below` gets the directories of the
 * layers below, from the top to the bottom; meanwhile the image is open and takes that many bytes of memory. Without an image
 * the file is deleted, after an error the caller does it.
 */
export async function writeImage(
  request: ImageRequest,
  below: (held: number) => Promise<readonly string[]>,
  signal: AbortSignal,
): Promise<WrittenLayer> {
  using layer = await readLayer(request, signal);
  const report = layer.report();
  if (isComplete(report) && request.redirects.length === 0)
    return { report, completed: false, image: await layer.finish(signal), redirects: [] };
  const { redirects } = await layer.complete(await below(layer.held), signal);
  if (redirects.length === 0)
    return { report, completed: true, image: await layer.finish(signal), redirects };
  layer[Symbol.dispose]();
  rmSync(request.image, { force: true });
  return { report, completed: false, image: undefined, redirects };
}

/** Reads the archive to its end. */
async function readLayer(request: ImageRequest, signal: AbortSignal): Promise<ErofsLayer> {
  const { archive, image, limits, redirects } = request;
  if (archive === undefined) throw new Error('an archive is read once');
  request.archive = undefined;
  using source = openSource(archive);
  let open = new DisposableStack();
  const discard = (): void => {
    open.dispose();
    open = new DisposableStack();
    rmSync(image, { force: true });
  };
  const read = async (): Promise<ErofsLayer> => {
    const layer = open.use(new ErofsLayer(image, limits, new Map(redirects)));
    await readArchive(layer, request, source, signal);
    return layer;
  };
  try {
    return await fromSource(source, signal, read, discard);
  } catch (error) {
    open.dispose();
    throw error;
  }
}
