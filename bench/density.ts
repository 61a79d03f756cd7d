/** 24 pods at once: start and removal rates, memory of the daemon and the monitors, lists, restarts. */
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { memoryOf } from './memory.ts';
import { allRunning, inParallel, type Pods, removePod } from './pods.ts';
import type { Side } from './sides.ts';
import type { Samples } from './statistics.ts';

const PODS = 24;
const WIDTH = 8;
const LISTED = 50;
const LISTS_PER_ROUND = 10;
/** Time for a daemon to free memory after a burst. */
const SETTLE_MS = 1000;

export async function density(side: Side, pods: Pods, samples: Samples, restarts: number): Promise<void> {
  const wanted = Array.from({ length: PODS }, (_, index) => index);
  const started = performance.now();
  const ids = await inParallel(wanted, WIDTH, () => pods.run(side));
  samples.add('pods/s@8', side.name, (PODS * 1000) / (performance.now() - started));
  await sleep(SETTLE_MS);
  measureMemory(side, samples);
  await lists(side, pods, ids[0] ?? '', samples);
  const ready = allRunning(PODS, PODS);
  for (let n = 0; n < restarts; n++) samples.add('restart@24', side.name, await side.restart(ready));
  const ended = performance.now();
  await inParallel(ids, WIDTH, (id) => removePod(side, id));
  samples.add('stop+remove pods/s@8', side.name, (PODS * 1000) / (performance.now() - ended));
}

function measureMemory(side: Side, samples: Samples): void {
  samples.add('daemon RSS@24', side.name, memoryOf(side.server.pid, 'status', 'VmRSS'));
  const monitors = side.monitors();
  if (monitors.length !== PODS)
    throw new CrispError(
      'Internal',
      `${side.name}: ${monitors.length} monitors for ${PODS} pods of one container`,
    );
  const pss = monitors.reduce((sum, pid) => sum + memoryOf(pid, 'smaps_rollup', 'Pss'), 0);
  samples.add('monitors PSS@24', side.name, pss);
}

/** Creates containers up to fifty, times the lists, and removes them again. */
async function lists(side: Side, pods: Pods, podSandboxId: string, samples: Samples): Promise<void> {
  const { client } = side.server;
  const sandboxConfig = pods.sandboxConfig(side);
  const names = Array.from({ length: LISTED - PODS }, (_, index) => `more-${index}`);
  const create = (name: string) =>
    client.CreateContainer({ podSandboxId, config: pods.containerConfig(name), sandboxConfig });
  const created = await inParallel(names, 2, create);
  for (let n = 0; n < LISTS_PER_ROUND; n++) {
    const started = performance.now();
    const { containers } = await client.ListContainers({});
    samples.add('ListContainers@50', side.name, performance.now() - started);
    if (containers.length !== LISTED)
      throw new CrispError('Internal', `${side.name} lists ${containers.length} containers of ${LISTED}`);
  }
  await inParallel(created, 2, ({ containerId }) => client.RemoveContainer({ containerId }));
}
