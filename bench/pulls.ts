/** Pulls of the large image, each into the empty store of a new daemon on a new file system. */
import { spawnSync } from 'node:child_process';
import { rmSync } from 'node:fs';
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { freshDisk } from './fresh-disk.ts';
import { type BenchEnvironment, startSide } from './sides.ts';
import type { Samples, SideName } from './statistics.ts';

const PULL_MS = 600_000;

export type Compression = 'gzip' | 'zstd';

export async function pull(
  environment: BenchEnvironment,
  name: SideName,
  compression: Compression,
  samples: Samples,
): Promise<void> {
  const directory = `pull-${name}`;
  using _disk = freshDisk(join(environment.directory, directory));
  const side = await startSide(environment, name, directory);
  try {
    const { client } = side.server;
    const { images } = await client.ListImages({});
    if (images.length > 0)
      throw new CrispError('Internal', `${name}: the store of a new daemon has ${images.length} images`);
    spawnSync('sync'); // so that writes of earlier rounds do not delay this one
    const started = performance.now();
    const image = { image: `${environment.registry}/bench/large:${compression}` };
    await client.PullImage({ image }, { timeoutMs: PULL_MS });
    samples.add(`pull+unpack ${compression}`, name, performance.now() - started);
  } finally {
    await side.server.stop();
    rmSync(join('/run', directory), { recursive: true, force: true });
  }
}
