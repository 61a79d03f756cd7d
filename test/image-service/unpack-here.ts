import { mkdirSync, readdirSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { TarReader } from '#core/tar/reader.ts';
import { ErofsLayer } from '#image-service/erofs/index.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import { completeLayer, isComplete } from '#image-service/unpack/complete.ts';
import type { LayerReport } from '#image-service/unpack/layer-writer.ts';
import { unpackLayer } from '#image-service/unpack/unpack-layer.ts';
import { mountErofs } from '#linux/mount/erofs.ts';
import { digestOf, type EntrySpec, type LayerSpec, makeTar, pack } from '../harness/images.ts';

export const never = new AbortController().signal;

/** The form of the layers that `unpack` makes: the tests of layers run once for each (`erofs-layers.test.ts`). */
export const layerForm = process.env['CRISP_TEST_LAYERS'] === 'erofs' ? 'erofs' : 'directory';
/** Of tests whose subject is the unpacking into a directory, or the pipeline before it. */
export const onlyDirectories = layerForm === 'directory' ? {} : { skip: 'of directories alone' };

/** Bytes that a file of a layer has on the disk; those of the whole image where the layer is one, which says no less. */
export const bytesOnDisk = (directory: string, name: string): number =>
  layerForm === 'erofs' ? statSync(`${directory}.erofs`).size : statSync(join(directory, name)).blocks * 512;

interface Options {
  readonly compression?: LayerSpec['compression'];
  readonly limits?: Partial<typeof defaultImageOptions.limits>;
}

/** Unpacks an archive, or one of these entries, on this thread into a new directory, against the lower ones as a pull would. */
export async function unpack(
  base: string,
  entries: readonly EntrySpec[] | Buffer,
  lower: readonly string[] = [],
  more: Options = {},
): Promise<{ directory: string; report: LayerReport }> {
  const tar = Buffer.isBuffer(entries) ? entries : makeTar(entries);
  const limits = { ...defaultImageOptions.limits, ...more.limits };
  const write = layerForm === 'erofs' ? writeImage : writeDirectory;
  let redirects: LayerReport['links'] = [];
  for (let round = 0; ; round++) {
    const directory = join(base, `layer-${readdirSync(base).length}`);
    mkdirSync(directory, { mode: 0o755 });
    const request = {
      base,
      directory,
      tar,
      limits,
      redirects,
      lower,
      compression: more.compression ?? 'none',
    };
    const { report, found } = await write(request);
    if (found.length === 0 || round > 5) return { directory, report };
    redirects = [...redirects, ...found];
  }
}

interface Request {
  readonly base: string;
  readonly directory: string;
  readonly tar: Buffer;
  readonly limits: typeof defaultImageOptions.limits;
  readonly redirects: LayerReport['links'];
  readonly lower: readonly string[];
  readonly compression: NonNullable<LayerSpec['compression']>;
}
/** `found`: further redirects. */
type Written = { report: LayerReport; found: LayerReport['links'] };

async function writeDirectory(request: Request): Promise<Written> {
  const { base, directory, tar, limits, redirects, lower } = request;
  const bytes = pack(tar, request.compression);
  const archive = join(base, 'archive');
  writeFileSync(archive, bytes);
  const report = await unpackLayer(
    { archive, compressedSize: bytes.length, directory, diffId: digestOf(tar), limits, redirects },
    never,
  );
  if (isComplete(report) && redirects.length === 0) return { report, found: [] };
  return { report, found: (await completeLayer(directory, lower, report, never)).redirects };
}

/** The directory is a mount of the image then, which is beside it. */
async function writeImage({ directory, tar, limits, redirects, lower }: Request): Promise<Written> {
  const image = `${directory}.erofs`;
  using layer = new ErofsLayer(image, limits, new Map(redirects));
  const reader = new TarReader(layer);
  reader.write(tar);
  reader.end();
  const report = layer.report();
  if (!isComplete(report) || redirects.length > 0) {
    const { redirects: found } = await layer.complete(lower, never);
    if (found.length > 0) return { report, found };
  }
  await layer.finish(never);
  await mountErofs({ image, target: directory, by: 'file' });
  return { report, found: [] };
}
