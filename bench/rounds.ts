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
import { nriCost } from './nri.ts';
import type { NriRow } from './nri-results.ts';
import type { BenchOptions, OciRuntime, Part } from './options.ts';
import { paceOf, roundsOf, type Section } from './pace.ts';
import { Pods } from './pods.ts';
import { profile } from './profile.ts';
import { pull } from './pulls.ts';
import { ensureImages } from './push-images.ts';
import { type BenchEnvironment, type Side, startSide } from './sides.ts';
import { inOrder, type Row, Samples, type SideName } from './statistics.ts';
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
  readonly nri: readonly NriRow[];
}

const log = (text: string): void => console.log(`bench: ${text}`);

async function eachRound<T>(
  section: Section,
  sides: readonly T[],
  options: BenchOptions,
  act: (side: T) => Promise<void>,
): Promise<void> {
  for (const round of roundsOf(section, options)) for (const side of inOrder(sides, round)) await act(side);
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
    log(`${environment.runtime}: ${paceOf('pods', options)} of ${options.podsPerRound} pods one by one`);
    await eachRound('pods', sides, options, async (side) => {
      for (let n = 0; n < options.podsPerRound; n++) await cycle(side, pods, samples);
    });
    log(`${environment.runtime}: ${paceOf('density', options)} of 24 pods at once`);
    await eachRound('density', sides, options, (side) =>
      density(side, pods, samples, options.restartsPerRound),
    );
    log(`${environment.runtime}: ${paceOf('usage', options)} of the stats of 100 containers in 50 pods`);
    await usage(sides, pods, samples, roundsOf('usage', options));
    log(`${environment.runtime}: ${paceOf('streaming', options)} of streaming sessions`);
    await eachRound('streaming', sides, options, (side) => streaming(side, pods, samples));
  } finally {
    for (const { server } of sides) await server.stop();
  }
}

async function fullNodes(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  log(`${environment.runtime}: ${paceOf('full-node', options)} of 250 pods of two containers`);
  await eachRound('full-node', names, options, async (name) => {
    const side = await startSide(environment, name, `full-${name}`);
    try {
      const pods = new Pods(environment);
      await pods.pull(side);
      await fullNode(side, pods, samples, options.restartsPerRound);
    } finally {
      await side.server.stop();
    }
  });
}

async function idleDaemons(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  const sides: Side[] = [];
  try {
    for (const name of names) sides.push(await startSide(environment, name, `idle-${name}`));
    assertSameNetwork(sides.map(({ confDir }) => confDir));
    const pods = new Pods(environment);
    for (const side of sides) await pods.pull(side);
    log(
      `${environment.runtime}: ${paceOf('idle', options)} of daemons with 100 pods, polled as by the kubelet`,
    );
    await idle(sides, pods, samples, roundsOf('idle', options));
  } finally {
    for (const { server } of sides) await server.stop();
  }
}

async function pulls(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  log(`${environment.runtime}: ${paceOf('pulls', options)} of pulls of each compression into empty stores`);
  await eachRound('pulls', names, options, async (name) => {
    for (const compression of ['gzip', 'zstd'] as const) await pull(environment, name, compression, samples);
  });
}

async function pullsUnderway(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  log(
    `${environment.runtime}: ${paceOf('pulls underway', options)} of ten pulls at once, and of mirrors that are down`,
  );
  createBlackHole();
  await eachRound('pulls underway', names, options, async (name) => {
    await concurrentPulls(environment, name, samples);
    await firstAnswers(environment, name, samples);
  });
}

async function manyFiles(
  environment: BenchEnvironment,
  names: readonly SideName[],
  options: BenchOptions,
  samples: Samples,
): Promise<void> {
  log(await pushManyFiles(`http://${environment.registry}`));
  log(`${environment.runtime}: ${paceOf('many-files', options)} of pulls of many files into empty stores`);
  await eachRound('many-files', names, options, (name) => manyFilesPulls(environment, name, samples));
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
    ...(options.crio === undefined ? {} : { crio: options.crio }),
    directory: join(directory, runtime),
    cgroup,
    registry: registry.host,
  };
  await ensureImages(registry.url, directory, !options.profile && isPulling('pulls'), log);
  if (options.profile) {
    await profile(environment, job.profileDirectory, options);
    return { rows: [], feel: [], nri: [] };
  }
  const samples = new Samples();
  const { peer } = options;
  const names: SideName[] = peer === 'none' ? ['crisp'] : ['crisp', peer];
  if (parts.includes('calls')) await calls(environment, names, options, samples);
  if (runtime !== options.runtimes.at(-1)) return { rows: samples.rows(runtime, peer), feel: [], nri: [] };
  if (parts.includes('full-node')) await fullNodes(environment, names, options, samples);
  if (parts.includes('idle')) await idleDaemons(environment, names, options, samples);
  if (isPulling('pulls')) {
    await pulls(environment, names, options, samples);
    await pullsUnderway(environment, names, options, samples);
  }
  if (isPulling('many-files')) await manyFiles(environment, names, options, samples);
  const felt = parts.includes('feel') ? await feel(environment, options, log) : undefined;
  const nri = parts.includes('nri') ? await nriCost(environment, options, log) : [];
  return { rows: samples.rows(runtime, peer), feel: felt?.rows() ?? [], nri };
}

const job = JSON.parse(readFileSync(process.argv[2] ?? '', 'utf8')) as Job;
try {
  writeFileSync(job.output, JSON.stringify(await measure(job)));
} catch (error) {
  console.error(`bench: ${describeError(error)}`);
  process.exitCode = 1;
}
