/**
 * The measurements, inside the bench's namespaces: one set of alternating rounds with one OCI runtime. Started
 * by main.ts with a job file.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { buildImage, busyboxImage, pushImage } from '../test/harness/images.ts';
import { startRegistry } from '../test/image-service/registry.ts';
import { concurrentPulls, pushSharedTags } from './concurrent-pulls.ts';
import { assertSameNetwork } from './conflist.ts';
import { cycle } from './cycle.ts';
import { density } from './density.ts';
import { buildLargeImage, compilePause } from './large-image.ts';
import { createBlackHole, firstAnswers } from './mirrors.ts';
import type { BenchOptions, OciRuntime } from './options.ts';
import { Pods } from './pods.ts';
import { profile } from './profile.ts';
import { pull } from './pulls.ts';
import { type BenchEnvironment, type Side, startSide } from './sides.ts';
import { type Row, Samples, type SideName } from './statistics.ts';
import { streaming } from './streaming.ts';
import { usage } from './usage.ts';

/** The request of main.ts. */
export interface Job {
  readonly options: BenchOptions;
  readonly runtime: OciRuntime;
  /** The program of crisp. */
  readonly crisp: string;
  /** On a disk: both sides write only below it. */
  readonly directory: string;
  readonly cgroup: string;
  /** Where the rows are written. */
  readonly output: string;
  /** Where a profile is written. */
  readonly profileDirectory: string;
}

/** Samples of the stats for each of the other rounds: both sides run, and samples alternate. */
const SAMPLES_PER_ROUND = 5;

const log = (text: string): void => console.log(`bench: ${text}`);

/** Every other round begins with the other side, so that after-effects of a round affect both alike. */
const inOrder = <T>(sides: readonly T[], round: number): readonly T[] =>
  round % 2 === 0 ? sides : sides.toReversed();

/** Pushes the images, unless an earlier set of rounds has already done so. */
async function ensureImages(registry: string, directory: string, isLarge: boolean): Promise<void> {
  const known = await fetch(`${registry}/v2/bench/large/tags/list`);
  if (known.ok) return;
  await pushImage(registry, 'bench/busybox', '1', busyboxImage());
  const entries = [{ name: 'pause', content: compilePause(directory), mode: 0o755 }];
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

async function eachRound(
  sides: readonly Side[],
  count: number,
  act: (side: Side) => Promise<void>,
): Promise<void> {
  for (let round = 0; round < count; round++) for (const side of inOrder(sides, round)) await act(side);
}

async function calls(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  const sides: Side[] = [];
  try {
    for (const name of names) sides.push(await startSide(environment, name, name));
    assertSameNetwork(sides.map(({ confDir }) => confDir));
    const pods = new Pods(environment);
    for (const side of sides) {
      await pods.pull(side);
      await cycle(side, pods, new Samples()); // the first pod creates the bridge and warms the caches
    }
    log(`${environment.runtime}: ${options.rounds} rounds of ${options.podsPerRound} pods one by one`);
    await eachRound(sides, options.rounds, async (side) => {
      for (let n = 0; n < options.podsPerRound; n++) await cycle(side, pods, samples);
    });
    log(`${environment.runtime}: ${options.rounds} rounds of 24 pods at once`);
    await eachRound(sides, options.rounds, (side) => density(side, pods, samples, options.restartsPerRound));
    log(`${environment.runtime}: stats of 100 containers in 50 pods`);
    await usage(sides, pods, samples, options.rounds * SAMPLES_PER_ROUND);
    log(`${environment.runtime}: ${options.rounds} rounds of streaming sessions`);
    await eachRound(sides, options.rounds, (side) => streaming(side, pods, samples));
  } finally {
    for (const { server } of sides) await server.stop();
  }
}

async function pulls(
  environment: BenchEnvironment,
  names: readonly SideName[],
  count: number,
  samples: Samples,
): Promise<void> {
  log(`${environment.runtime}: ${count} pulls of each compression into empty stores`);
  for (let round = 0; round < count; round++) {
    for (const name of inOrder(names, round)) {
      for (const compression of ['gzip', 'zstd'] as const)
        await pull(environment, name, compression, samples);
    }
  }
}

/** Samples of pulls at once and of mirrors that are down: each takes up to half a minute of rest or of a peer's timeout. */
const MAX_LONG_ROUNDS = 5;

async function pullsUnderway(
  environment: BenchEnvironment,
  names: readonly SideName[],
  count: number,
  samples: Samples,
): Promise<void> {
  log(`${environment.runtime}: ${count} rounds of ten pulls at once, and of mirrors that are down`);
  createBlackHole();
  for (let round = 0; round < count; round++) {
    for (const name of inOrder(names, round)) {
      await concurrentPulls(environment, name, samples);
      await firstAnswers(environment, name, samples);
    }
  }
}

async function measure(job: Job): Promise<Row[]> {
  const { options, runtime, directory, cgroup } = job;
  await using registry = await startRegistry(join(directory, 'registry'));
  const environment: BenchEnvironment = {
    runtime,
    network: options.network,
    crisp: job.crisp,
    directory: join(directory, runtime),
    cgroup,
    registry: registry.host,
  };
  await ensureImages(registry.url, directory, !options.profile && options.pulls > 0);
  if (options.profile) {
    await profile(environment, job.profileDirectory, options);
    return [];
  }
  const samples = new Samples();
  const names: SideName[] = options.peer === 'none' ? ['crisp'] : ['crisp', 'containerd'];
  await calls(environment, names, options, samples);
  if (runtime === options.runtimes.at(-1) && options.pulls > 0) {
    await pulls(environment, names, options.pulls, samples);
    await pullsUnderway(environment, names, Math.min(options.pulls, MAX_LONG_ROUNDS), samples);
  }
  return samples.rows(runtime);
}

const job = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Job;
try {
  writeFileSync(job.output, JSON.stringify(await measure(job)));
} catch (error) {
  console.error(`bench: ${describeError(error)}`);
  process.exitCode = 1;
}
