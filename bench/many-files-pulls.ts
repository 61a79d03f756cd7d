/**
 * Pulls of the image of many files, each into the empty store of a new daemon on a new file system: how long, how much memory, what
 * another process's fdatasync takes meanwhile, and how soon after RemoveImage the space is back.
 */
import { spawnSync } from 'node:child_process';
import { rmSync, statfsSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { pushImage } from '../test/harness/images.ts';
import { freshDisk } from './fresh-disk.ts';
import { fsyncP99During } from './fsync-probe.ts';
import { manyFilesImage } from './many-files.ts';
import { memoryOfTree, peakDuring } from './memory.ts';
import type { Compression } from './pulls.ts';
import { type BenchEnvironment, type Side, startSide } from './sides.ts';
import type { Samples, SideName } from './statistics.ts';

const REPOSITORY = 'bench/many-files';
const PULL_MS = 600_000;
/** A daemon has settled after its start, in ms. */
const SETTLED_MS = 2_000;
/** crisp's threads end after ten seconds without a pull, and it trims its memory after fifteen. */
const REST_MS = 20_000;
/** How long the writer writes without a pull. */
const ALONE_MS = 5_000;
const SPACE_MS = 300_000;
/** Between two looks at the free space. */
const LOOK_MS = 5;
/** Of what the pull took, when the space counts as back: records, logs and directories remain. */
const REMAINS = 0.01;

/** Pushes it; what the registry serves is in the page cache from then on. Returns a line about it. */
export async function pushManyFiles(registry: string): Promise<string> {
  const { bytes, entries, images } = await manyFilesImage();
  const packed = (compression: Compression): number =>
    (images[compression].layers[0]?.bytes.length ?? 0) >> 20;
  for (const compression of ['gzip', 'zstd'] as const)
    await pushImage(registry, REPOSITORY, compression, images[compression]);
  return `image of many files: ${entries} entries, ${bytes >> 20} MiB, gzip ${packed('gzip')} MiB, zstd ${packed('zstd')} MiB, one layer`;
}

/** One sample of each row. */
export async function manyFilesPulls(
  environment: BenchEnvironment,
  name: SideName,
  samples: Samples,
): Promise<void> {
  await onFreshDisk(environment, name, async (measured) => measurePull('gzip', measured, samples, true));
  await onFreshDisk(environment, name, async (measured) => measurePull('zstd', measured, samples, false));
  await onFreshDisk(environment, name, async (measured) => measureWriter(measured, samples));
}

interface Measured {
  readonly side: Side;
  /** Mount point of the new file system. */
  readonly disk: string;
  readonly registry: string;
  /** Stops the daemon, has the file system forget what it cached, and starts the daemon again. */
  cool(): Promise<void>;
}

async function onFreshDisk(
  environment: BenchEnvironment,
  name: SideName,
  measure: (measured: Measured) => Promise<void>,
): Promise<void> {
  const directory = `many-files-${name}`;
  const path = join(environment.directory, directory);
  using disk = freshDisk(path);
  const side = await startSide(environment, name, directory);
  try {
    await measure({
      side,
      disk: path,
      registry: environment.registry,
      async cool() {
        await side.server.stop();
        disk.remount();
        await side.restart(async (client) => (await client.ListImages({})).images.length > 0);
      },
    });
  } finally {
    await side.server.stop();
    rmSync(join('/run', directory), { recursive: true, force: true });
  }
}

const pull = ({ side, registry }: Measured, compression: Compression): Promise<unknown> =>
  side.server.client.PullImage(
    { image: { image: `${registry}/${REPOSITORY}:${compression}` } },
    { timeoutMs: PULL_MS },
  );

/** Bytes that anyone could write. */
function freeBytes(path: string): number {
  const { bfree, bsize } = statfsSync(path);
  return bfree * bsize;
}

async function measurePull(
  compression: Compression,
  measured: Measured,
  samples: Samples,
  isWhole: boolean,
): Promise<void> {
  const { side, disk } = measured;
  await sleep(SETTLED_MS);
  spawnSync('sync', ['-f', disk]); // so that writes of the start do not delay this
  const [before, free] = [memoryOfTree(side.server.pid), freeBytes(disk)];
  const started = performance.now();
  const pulled = pull(measured, compression).then(() => performance.now() - started);
  const peak = await peakDuring(side.server.pid, pulled);
  samples.add(`pull+unpack many files ${compression}`, side.name, await pulled);
  samples.add(`RSS peak@many files ${compression}`, side.name, peak.rss);
  samples.add(`PSS peak@many files ${compression}`, side.name, peak.pss);
  if (!isWhole) return;
  samples.add('RSS before@many files', side.name, before.rss);
  samples.add('PSS before@many files', side.name, before.pss);
  await sleep(REST_MS);
  const after = memoryOfTree(side.server.pid);
  samples.add('RSS 20 s after@many files', side.name, after.rss);
  samples.add('PSS 20 s after@many files', side.name, after.pss);
  await measureRemoval(measured, free, samples);
}

/** Cold, as on a node where the image was pulled days ago. */
async function measureRemoval(measured: Measured, free: number, samples: Samples): Promise<void> {
  const { side, disk } = measured;
  spawnSync('sync', ['-f', disk]);
  const taken = free - freeBytes(disk);
  await measured.cool();
  const { images } = await side.server.client.ListImages({});
  const started = performance.now();
  for (const { id } of images)
    await side.server.client.RemoveImage({ image: { image: id } }, { timeoutMs: SPACE_MS });
  while (freeBytes(disk) < free - taken * REMAINS) {
    if (performance.now() - started > SPACE_MS)
      throw new CrispError(
        'Internal',
        `${side.name}: ${(free - freeBytes(disk)) >> 20} MiB of ${taken >> 20} remain`,
      );
    await sleep(LOOK_MS);
  }
  samples.add('remove image until the space is back', side.name, performance.now() - started);
}

/** In a pull of its own, because the writer delays it. */
async function measureWriter(measured: Measured, samples: Samples): Promise<void> {
  const { side, disk } = measured;
  await sleep(SETTLED_MS);
  samples.add('fsync p99@no pull', side.name, await fsyncP99During(disk, () => sleep(ALONE_MS)));
  samples.add('fsync p99@pull', side.name, await fsyncP99During(disk, () => pull(measured, 'gzip')));
}
