/**
 * The measurements, inside the bench's namespaces: one set of alternating rounds with one OCI runtime. Started
 * by main.ts with a job file.
 */
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { startRegistry } from '../test/image-service/registry.ts';
import { concurrentPulls } from './concurrent-pulls.ts';
import { assertSameNetwork } from './conflist.ts';
import { cycle } from './cycle.ts';
import { density } from './density.ts';
import { feel } from './feel.ts';
import type { FeelRow } from './feel-results.ts';
import { fullNode } from './full-node.ts';
import { idle } from './idle.ts';
import { manyFilesPulls, pushManyFiles } from './many-files-pulls.ts';
import { createBlackHole, firstAnswers } from './mirrors.ts';
import type { BenchOptions, OciRuntime, Part } from './options.ts';
import { Pods } from './pods.ts';
import { profile } from './profile.ts';
import { pull } from './pulls.ts';
import { ensureImages } from './push-images.ts';
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

/** What main.ts reads. */
export interface Measured {
  readonly rows: readonly Row[];
  readonly feel: readonly FeelRow[];
}

/** Samples of the stats for each of the other rounds: both sides run, and samples alternate. */
const SAMPLES_PER_ROUND = 5;

const log = (text: string): void => console.log(`bench: ${text}`);

/** Every other round begins with the other side, so that after-effects of a round affect both alike. */
const inOrder = <T>(sides: readonly T[], round: number): readonly T[] =>
  round % 2 === 0 ? sides : sides.toReversed();

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

async function fullNodes(
  environment: BenchEnvironment,
  names: readonly SideName[],
  { restartsPerRound }: BenchOptions,
  samples: Samples,
): Promise<void> {
  log(`${environment.runtime}: 250 pods of two containers`);
  for (const name of names) {
    const side = await startSide(environment, name, `full-${name}`);
    try {
      const pods = new Pods(environment);
      await pods.pull(side);
      await fullNode(side, pods, samples, restartsPerRound);
    } finally {
      await side.server.stop();
    }
  }
}

/** A sample takes half a minute for each side. */
const MAX_IDLE_ROUNDS = 5;

async function idleDaemons(
  environment: BenchEnvironment,
  names: readonly SideName[],
  count: number,
  samples: Samples,
): Promise<void> {
  const sides: Side[] = [];
  try {
    for (const name of names) sides.push(await startSide(environment, name, `idle-${name}`));
    assertSameNetwork(sides.map(({ confDir }) => confDir));
    const pods = new Pods(environment);
    for (const side of sides) await pods.pull(side);
    log(`${environment.runtime}: ${count} rounds of daemons with 100 pods, polled as by the kubelet`);
    await idle(sides, pods, samples, count);
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

/** The part takes a minute for each side and round. */
const MAX_MANY_FILES_ROUNDS = 5;

async function manyFiles(
  environment: BenchEnvironment,
  names: readonly SideName[],
  count: number,
  samples: Samples,
): Promise<void> {
  log(await pushManyFiles(`http://${environment.registry}`));
  log(`${environment.runtime}: ${count} rounds of pulls of many files into empty stores`);
  for (let round = 0; round < count; round++)
    for (const name of inOrder(names, round)) await manyFilesPulls(environment, name, samples);
}

async function measure(job: Job): Promise<Measured> {
  const { options, runtime, directory, cgroup } = job;
  const { parts, pulls: count } = options;
  const isPulling = (part: Part): boolean => parts.includes(part) && count > 0;
  await using registry = await startRegistry(join(directory, 'registry'));
  const environment: BenchEnvironment = {
    runtime,
    network: options.network,
    layers: options.layers,
    snapshotter: options.snapshotter,
    crisp: job.crisp,
    directory: join(directory, runtime),
    cgroup,
    registry: registry.host,
  };
  await ensureImages(registry.url, directory, !options.profile && isPulling('pulls'), log);
  if (options.profile) {
    await profile(environment, job.profileDirectory, options);
    return { rows: [], feel: [] };
  }
  const samples = new Samples();
  const names: SideName[] = options.peer === 'none' ? ['crisp'] : ['crisp', 'containerd'];
  if (parts.includes('calls')) await calls(environment, names, options, samples);
  if (runtime !== options.runtimes.at(-1)) return { rows: samples.rows(runtime), feel: [] };
  if (parts.includes('full-node')) await fullNodes(environment, names, options, samples);
  if (parts.includes('idle'))
    await idleDaemons(environment, names, Math.min(options.rounds, MAX_IDLE_ROUNDS), samples);
  if (isPulling('pulls')) {
    await pulls(environment, names, count, samples);
    await pullsUnderway(environment, names, Math.min(count, MAX_LONG_ROUNDS), samples);
  }
  if (isPulling('many-files'))
    await manyFiles(environment, names, Math.min(count, MAX_MANY_FILES_ROUNDS), samples);
  const felt = parts.includes('feel')
    ? await feel(environment, Math.min(options.rounds, MAX_LONG_ROUNDS), log)
    : undefined;
  return { rows: samples.rows(runtime), feel: felt?.rows() ?? [] };
}

const job = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Job;
try {
  writeFileSync(job.output, JSON.stringify(await measure(job)));
} catch (error) {
  console.error(`bench: ${describeError(error)}`);
  process.exitCode = 1;
}
