/**
 * What a daemon with 100 running pods uses while a client does what the kubelet does when nothing happens. Both sides have
 * their pods at the same time; one is measured after the other.
 */
import { readFileSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from '#api/cri/v1/client.ts';
import { CrispError } from '#core/errors.ts';
import { type Pods, withPods } from './pods.ts';
import type { Side } from './sides.ts';
import type { Samples } from './statistics.ts';

const PODS = 100;
const WIDTH = 4;
/** Of one sample. */
const SECONDS = 30;
/** After the last pod: what a daemon does after a burst is no idleness. crisp trims its memory within this time. */
const SETTLE_MS = 20_000;
/** Of /proc/PID/stat, in each second: the same on every Linux (USER_HZ). */
const TICKS = 100;

export type Poll = 'lists' | 'status' | 'statuses' | 'stats';

/**
 * What the client calls in a second of the sample. The kubelet's PLEG lists each second, its runtime state asks for Status each
 * five, its stats and evictions come each ten; it asks for the status of a pod only when a list differs, and each minute or two:
 * here of all each ten.
 */
export const pollsAt = (second: number): readonly Poll[] => [
  'lists',
  ...(second % 5 === 0 ? (['status'] as const) : []),
  ...(second % 10 === 0 ? (['statuses', 'stats'] as const) : []),
];

export async function idle(
  sides: readonly Side[],
  pods: Pods,
  samples: Samples,
  rounds: number,
): Promise<void> {
  await withPods(sides, pods, { count: PODS, width: WIDTH }, async () => {
    await sleep(SETTLE_MS);
    for (let round = 0; round < rounds; round++)
      for (const side of round % 2 === 0 ? sides : sides.toReversed()) await sample(side, samples);
  });
}

async function sample(side: Side, samples: Samples): Promise<void> {
  const monitors = side.monitors();
  const used = () => [cpuMs(side.server.pid), monitors.reduce((sum, pid) => sum + cpuMs(pid), 0)] as const;
  const started = performance.now();
  const before = used();
  for (let second = 0; second < SECONDS; second++) {
    for (const poll of pollsAt(second)) await POLLS[poll](side);
    await sleep(Math.max(0, started + (second + 1) * 1000 - performance.now()));
  }
  const after = used();
  const seconds = (performance.now() - started) / 1000;
  samples.add('idle CPU @100 pods', side.name, (after[0] - before[0]) / seconds);
  samples.add('idle CPU of monitors @100 pods', side.name, (after[1] - before[1]) / seconds);
}

const POLLS: Readonly<Record<Poll, (side: Side) => Promise<void>>> = {
  async lists(side) {
    const { items, containers } = await listed(side.server.client);
    if (items.length !== PODS || containers.length !== PODS)
      throw new CrispError(
        'Internal',
        `${side.name} lists ${items.length} pods and ${containers.length} containers of ${PODS}`,
      );
  },
  async status({ server: { client } }) {
    await client.Status({});
  },
  async statuses({ server: { client } }) {
    const { items, containers } = await listed(client);
    for (const { id } of items) await client.PodSandboxStatus({ podSandboxId: id });
    for (const { id } of containers) await client.ContainerStatus({ containerId: id });
  },
  async stats({ server: { client } }) {
    await client.ListPodSandboxStats({});
    await client.ListContainerStats({});
    await client.ImageFsInfo({});
  },
};

async function listed(client: CriClient) {
  const { items } = await client.ListPodSandbox({});
  const { containers } = await client.ListContainers({});
  return { items, containers };
}

/** Of the process with its threads, and of its children that have ended and been waited for. Throws where it has ended. */
const cpuMs = (pid: number): number => cpuMsOf(readFileSync(`/proc/${pid}/stat`, 'latin1'));

/** From the text of /proc/PID/stat (proc(5)): utime, stime, cutime and cstime. The name in it may hold spaces. */
export function cpuMsOf(stat: string): number {
  const fields = stat.slice(stat.lastIndexOf(')') + 2).split(' ');
  const ticks = fields.slice(11, 15).map(Number);
  return (ticks.reduce((sum, count) => sum + count, 0) * 1000) / TICKS;
}
