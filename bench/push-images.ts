/** The images of pods and of large pulls, in the registry. */
import { join } from 'node:path';
import { buildImage, busyboxImage, pushImage } from '../test/harness/images.ts';
import { pushSharedTags } from './concurrent-pulls.ts';
import { buildLargeImage, compile } from './large-image.ts';

/** Pushes the images, unless an earlier set of rounds has already done so. */
export async function ensureImages(
  registry: string,
  directory: string,
  isLarge: boolean,
  log: (text: string) => void,
): Promise<void> {
  const known = await fetch(`${registry}/v2/bench/large/tags/list`);
  if (known.ok) return;
  await pushImage(registry, 'bench/busybox', '1', busyboxImage());
  const entries = [{ name: 'pause', content: compile(directory, 'pause'), mode: 0o755 }];
  const pause = buildImage({ layers: [{ entries }], config: { Entrypoint: ['/pause'] } });
  await pushImage(registry, 'bench/pause', '1', pause);
  if (!isLarge) return;
  const { bytes, entries: count, images } = await buildLargeImage(join(directory, 'pack'));
  for (const compression of ['gzip', 'zstd'] as const) {
    await pushImage(registry, 'bench/large', compression, images[compression]);
    const packed = images[compression].layers.reduce((sum, layer) => sum + layer.bytes.length, 0);
    log(`image ${compression}: ${packed >> 20} MiB of ${bytes >> 20} MiB, ${count} entries, 5 layers`);
  }
  await pushSharedTags(registry, images.gzip);
}
