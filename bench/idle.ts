/**
 * What a daemon with 100 running pods uses while a client does what the kubelet does when nothing happens. Both sides have
 * their pods at the same time; one is measured after the other.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import type { CriClient } from '#api/cri/v1/client.ts';
import { CrispError } from '#core/errors.ts';
import { cpuMs } from './cpu-time.ts';
import { type Pods, withPods } from './pods.ts';
import type { Side } from './sides.ts';
import { inOrder, type Samples } from './statistics.ts';

const PODS = 100;
const WIDTH = 4;
/** Of one sample. */
const SECONDS = 30;
/** After the last pod: what a daemon does after a burst is no idleness. crisp trims its memory within this time. */
const SETTLE_MS = 20_000;

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
  rounds: Iterable<number>,
): Promise<void> {
  await withPods(sides, pods, { count: PODS, width: WIDTH }, async () => {
    await sleep(SETTLE_MS);
    for (const round of rounds) for (const side of inOrder(sides, round)) await sample(side, samples);
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
