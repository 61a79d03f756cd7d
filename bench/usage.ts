/** The figures of 100 running containers in 50 pods. Both sides have theirs at once, and are asked in turns. */
import { CrispError } from '#core/errors.ts';
import { inParallel, type Pods, removePod } from './pods.ts';
import type { Side } from './sides.ts';
import type { RowName, Samples } from './statistics.ts';

const PODS = 50;
const NAMES = ['main', 'sidecar'];
const WIDTH = 4;
/** First looks fill caches on either side. */
const WARM_UP = 2;

export async function usage(
  sides: readonly Side[],
  pods: Pods,
  samples: Samples,
  looks: number,
): Promise<void> {
  const made: { readonly side: Side; readonly id: string }[] = [];
  const wanted = sides.flatMap((side) => Array.from({ length: PODS }, () => side));
  try {
    await inParallel(wanted, WIDTH, async (side) => {
      made.push({ side, id: await pods.run(side, NAMES) });
    });
    for (let look = -WARM_UP; look < looks; look++) {
      for (const side of look % 2 === 0 ? sides : sides.toReversed()) await ask(side, samples, look >= 0);
    }
  } finally {
    await inParallel(made, WIDTH, ({ side, id }) => removePod(side, id));
  }
}

async function ask(side: Side, samples: Samples, isCounted: boolean): Promise<void> {
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
      throw new CrispError('Internal', `${side.name}: ${name} tells of ${stats.length}`);
  };
  await timed('ListContainerStats@100', PODS * NAMES.length, () => client.ListContainerStats({}));
  await timed('ListPodSandboxStats@50', PODS, () => client.ListPodSandboxStats({}));
}
