import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { defaultImageOptions } from '#image-service/index.ts';
import { completeLayer, isComplete } from '#image-service/unpack/complete.ts';
import type { LayerReport } from '#image-service/unpack/layer-writer.ts';
import { unpackLayer } from '#image-service/unpack/unpack-layer.ts';
import { digestOf, type EntrySpec, type LayerSpec, makeTar, pack } from '../harness/images.ts';

export const never = new AbortController().signal;

/** Unpacks an archive, or one of these entries, on this thread into a new directory, against the lower ones as a pull would. */
export async function unpack(
  base: string,
  entries: readonly EntrySpec[] | Buffer,
  lower: readonly string[] = [],
  more: { compression?: LayerSpec['compression']; limits?: Partial<typeof defaultImageOptions.limits> } = {},
): Promise<{ directory: string; report: LayerReport }> {
  const tar = Buffer.isBuffer(entries) ? entries : makeTar(entries);
  const bytes = pack(tar, more.compression ?? 'none');
  const archive = join(base, 'archive');
  writeFileSync(archive, bytes);
  let redirects: LayerReport['links'] = [];
  for (let round = 0; ; round++) {
    const directory = join(base, `layer-${readdirSync(base).length}`);
    mkdirSync(directory, { mode: 0o755 });
    const limits = { ...defaultImageOptions.limits, ...more.limits };
    const request = {
      archive,
      compressedSize: bytes.length,
      directory,
      diffId: digestOf(tar),
      limits,
      redirects,
    };
    const report = await unpackLayer(request, never);
    if (isComplete(report) && redirects.length === 0) return { directory, report };
    const completion = await completeLayer(directory, lower, report, never);
    if (completion.redirects.length === 0 || round > 5) return { directory, report };
    redirects = [...redirects, ...completion.redirects];
  }
}
