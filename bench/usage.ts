/** Reads and stats of 100 running containers in 50 pods. Both sides run at the same time, and are called in turns. */
import { CrispError } from '#core/errors.ts';
import { type Pods, withPods } from './pods.ts';
import { reads } from './reads.ts';
import type { Side } from './sides.ts';
import { inOrder, type RowName, type Samples } from './statistics.ts';

const PODS = 50;
const NAMES = ['main', 'sidecar'];
const WIDTH = 4;
/** The first calls fill caches on either side. */
const WARM_UP = 2;
const READS = 4;

export async function usage(
  sides: readonly Side[],
  pods: Pods,
  samples: Samples,
  rounds: Iterable<number>,
): Promise<void> {
  await withPods(sides, pods, { count: PODS, width: WIDTH, names: NAMES }, async () => {
    for (let count = 0; count < WARM_UP; count++)
      for (const side of sides) await measure(side, samples, false);
    for (const round of rounds) for (const side of inOrder(sides, round)) await measure(side, samples, true);
    for (let round = 0; round < READS; round++)
      for (const side of inOrder(sides, round)) await reads(side, PODS, samples);
  });
}

async function measure(side: Side, samples: Samples, isCounted: boolean): Promise<void> {
  const { client } = side.server;
  const timed = async (
    name: RowName,
    expected: number,
    call: () => Promise<{ readonly stats: readonly object[] }>,
  ) => {
    const started = performance.now();
    const { stats } = await call();
    if (isCounted) samples.add(name, side.name, performance.now() - started);
    if (stats.length !== expected)
      throw new CrispError('Internal', `${side.name}: ${name} returned ${stats.length} items`);
  };
  await timed('ListContainerStats@100', PODS * NAMES.length, () => client.ListContainerStats({}));
  await timed('ListPodSandboxStats@50', PODS, () => client.ListPodSandboxStats({}));
}
