/** A node with as many pods as a kubelet takes: the memory of the daemon and its monitors, and restarts. One side after the other. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { memoryOf } from './memory.ts';
import { allRunning, type Pods, withPods } from './pods.ts';
import type { Side } from './sides.ts';
import type { Samples } from './statistics.ts';

const PODS = 250;
const NAMES = ['main', 'sidecar'];
const WIDTH = 8;
/** After the last pod: crisp trims its memory within this time. */
const SETTLE_MS = 20_000;

export async function fullNode(side: Side, pods: Pods, samples: Samples, restarts: number): Promise<void> {
  await withPods([side], pods, { count: PODS, width: WIDTH, names: NAMES }, async () => {
    await sleep(SETTLE_MS);
    const monitors = side.monitors();
    if (monitors.length === 0) throw new CrispError('Internal', `${side.name} has no monitors`);
    const pss = [side.server.pid, ...monitors].map((pid) => memoryOf(pid, 'smaps_rollup', 'Pss'));
    samples.add(
      'memory@250',
      side.name,
      pss.reduce((sum, size) => sum + size, 0),
    );
    for (let n = 0; n < restarts; n += 1)
      samples.add('restart@250', side.name, await side.restart(allRunning(PODS, PODS * NAMES.length)));
  });
}
