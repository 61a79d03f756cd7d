/**
 * Ten pulls at once of ten tags that share their layers, into the empty store of a new daemon: how long they take, how
 * the daemon answers meanwhile, and its memory before, during and after.
 */
import { rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { type BuiltImage, buildImage, pushImage } from '../test/harness/images.ts';
import { freePort } from '../test/image-service/registry.ts';
import { freshDisk } from './fresh-disk.ts';
import { withLayer } from './large-image.ts';
import { memoryOf } from './memory.ts';
import type { Server } from './server.ts';
import { type BenchEnvironment, type Side, startSide } from './sides.ts';
import { quantile, type Samples, type SideName } from './statistics.ts';

const TAGS = 10;
const REPOSITORY = 'bench/shared';
const PULL_MS = 600_000;
/** Between two calls of ListImages. */
const PAUSE_MS = 2;
/** A daemon has settled after its start, in ms. */
const SETTLED_MS = 2_000;
/** Twice: crisp's threads end after ten seconds without a pull, and it trims its memory after fifteen. */
const REST_MS = 10_000;
/** What a timer of the event loop's monitor takes by itself, in ms. */
const RESOLUTION_MS = 10;

/** Pushes the tags: the layers of the large image, and one of its own each. */
export async function pushSharedTags(registry: string, large: BuiltImage): Promise<void> {
  for (let n = 0; n < TAGS; n++) {
    const own = buildImage({ layers: [{ entries: [{ name: './' }, { name: 'tag', content: `${n}` }] }] });
    await pushImage(registry, REPOSITORY, `t${n}`, withLayer(large, own));
  }
}

export async function concurrentPulls(
  environment: BenchEnvironment,
  name: SideName,
  samples: Samples,
): Promise<void> {
  const directory = `pulls-${name}`;
  using _disk = freshDisk(join(environment.directory, directory));
  const metrics = `127.0.0.1:${await freePort()}`;
  const side = await startSide({ ...environment, metrics }, name, directory);
  try {
    await measure(side, environment.registry, name === 'crisp' ? metrics : undefined, samples);
  } finally {
    await side.server.stop();
    rmSync(join('/run', directory), { recursive: true, force: true });
  }
}

async function measure(
  { name, server }: Side,
  registry: string,
  metrics: string | undefined,
  samples: Samples,
): Promise<void> {
  const rss = () => memoryOf(server.pid, 'status', 'VmRSS');
  await sleep(SETTLED_MS);
  const before = rss();
  writeFileSync(`/proc/${server.pid}/clear_refs`, '5'); // VmHWM begins anew (proc(5))
  if (metrics !== undefined) await scrape(metrics); // and so does the monitor of the event loop
  const started = performance.now();
  const images = Array.from({ length: TAGS }, (_, n) => ({ image: `${registry}/${REPOSITORY}:t${n}` }));
  const pulled = Promise.all(
    images.map((image) => server.client.PullImage({ image }, { timeoutMs: PULL_MS })),
  );
  const latencies = await listImagesDuring(server.client, pulled);
  samples.add('10 pulls', name, performance.now() - started);
  samples.add('ListImages p99@10 pulls', name, quantile(latencies, 0.99));
  if (metrics !== undefined) {
    const text = await scrape(metrics);
    const lag = metricOf(text, 'nodejs_eventloop_lag_p99_seconds') * 1000 - RESOLUTION_MS;
    samples.add('event loop p99@10 pulls', name, Math.max(0, lag));
    assertFetchedOnce(text);
  }
  const peak = memoryOf(server.pid, 'status', 'VmHWM');
  await sleep(REST_MS);
  const soon = rss();
  await sleep(REST_MS);
  const after = rss();
  samples.add('RSS before@10 pulls', name, before);
  samples.add('RSS peak@10 pulls', name, peak);
  samples.add('RSS 10 s after@10 pulls', name, soon);
  samples.add('RSS 20 s after@10 pulls', name, after);
  if (name === 'crisp') samples.add('RSS growth@10 pulls', name, after - before);
}

/** Calls ListImages, one call after another, until the pulls have ended; how long each took, in ms. */
async function listImagesDuring(client: Server['client'], pulled: Promise<unknown>): Promise<number[]> {
  let isRunning = true;
  const ended = pulled.finally(() => {
    isRunning = false;
  });
  ended.catch(() => {}); // thrown below
  const latencies: number[] = [];
  while (isRunning) {
    const called = performance.now();
    await client.ListImages({});
    latencies.push(performance.now() - called);
    await sleep(PAUSE_MS);
  }
  await ended;
  return latencies;
}

const scrape = async (address: string): Promise<string> => (await fetch(`http://${address}/metrics`)).text();

/** Throws Internal where the metric is missing. */
function metricOf(text: string, name: string): number {
  const line = text.split('\n').find((candidate) => candidate.startsWith(`${name} `));
  if (line) return Number(line.slice(name.length + 1));
  throw new CrispError('Internal', `the metrics of crisp have no ${name}`);
}

/** Throws Internal where a layer was fetched twice: of all tags' layers only one is each tag's own. */
function assertFetchedOnce(text: string): void {
  const fetched = metricOf(text, 'crisp_pull_layers_total{source="fetched"}');
  const shared = metricOf(text, 'crisp_pull_layers_total{source="shared"}');
  const distinct = (fetched + shared) / TAGS - 1 + TAGS;
  if (fetched === distinct) return;
  throw new CrispError('Internal', `crisp: ${fetched} layers were fetched, of ${distinct} different ones`);
}
