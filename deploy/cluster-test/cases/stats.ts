/** Stats of pods and containers, as the kubelet serves them. */
import assert from 'node:assert/strict';
import type { Case } from '../case.ts';
import type { Trial } from '../trial.ts';

interface Summary {
  readonly pods: readonly {
    readonly podRef: { readonly name: string; readonly namespace: string };
    readonly cpu?: { readonly usageCoreNanoSeconds?: number };
    readonly memory?: { readonly workingSetBytes?: number };
    readonly network?: { readonly rxBytes?: number };
    readonly process_stats?: { readonly process_count?: number };
    readonly containers: readonly {
      readonly name: string;
      readonly cpu?: { readonly usageCoreNanoSeconds?: number };
      readonly memory?: { readonly workingSetBytes?: number };
      readonly rootfs?: { readonly usedBytes?: number };
    }[];
  }[];
}

/** Busy enough to be seen. */
const script =
  "trap 'exit 0' TERM; head -c 4000000 /dev/zero > /tmp/file; while :; do md5sum /tmp/file; sleep 0.3; done";

async function summary(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{ script }, { name: 'other' }] });
  await trial.poll('the summary has the pod with all its stats', async () => {
    const { pods } = JSON.parse(await trial.kubelet('stats/summary')) as Summary;
    const pod = pods.find(
      ({ podRef }) => podRef.name === name && podRef.namespace === trial.cluster.namespace,
    );
    assert.ok(pod, `${pods.length} pods, but not this one`);
    assert.deepEqual(pod.containers.map((container) => container.name).toSorted(), ['main', 'other']);
    const main = pod.containers.find((container) => container.name === 'main');
    assert.ok((main?.cpu?.usageCoreNanoSeconds ?? 0) > 0, 'no CPU time of the container');
    assert.ok((main?.memory?.workingSetBytes ?? 0) > 0, 'no memory of the container');
    assert.ok((main?.rootfs?.usedBytes ?? 0) >= 4_000_000, `rootfs.usedBytes is ${main?.rootfs?.usedBytes}`);
    assert.ok((pod.cpu?.usageCoreNanoSeconds ?? 0) > 0, 'no CPU time of the pod');
    assert.ok((pod.memory?.workingSetBytes ?? 0) > 0, 'no memory of the pod');
    assert.ok(pod.network?.rxBytes !== undefined, 'no network of the pod');
    assert.ok((pod.process_stats?.process_count ?? 0) > 0, 'no processes of the pod');
    return true;
  });
}

/** Whether there is a series of this metric with these labels, whose values need no escapes. */
export function hasSeries(text: string, metric: string, labels: Readonly<Record<string, string>>): boolean {
  const pairs = Object.entries(labels).map(([name, value]) => `${name}="${value}"`);
  return text
    .split('\n')
    .some(
      (line) =>
        line.startsWith(`${metric}{`) &&
        pairs.every((pair) => line.includes(`{${pair}`) || line.includes(`,${pair}`)),
    );
}

const CADVISOR = ['container_cpu_usage_seconds_total', 'container_memory_working_set_bytes'];

async function series(trial: Trial, path: string, metrics: readonly string[]): Promise<void> {
  const name = await trial.start({ containers: [{ script }] });
  const labels = { namespace: trial.cluster.namespace, pod: name, container: 'main' };
  await trial.poll(`${path} has series of the container`, async () => {
    const text = await trial.kubelet(path);
    for (const metric of metrics)
      assert.ok(hasSeries(text, metric, labels), `${metric} has no series with ${JSON.stringify(labels)}`);
    return true;
  });
}

export const STATS_CASES: readonly Case[] = [
  {
    name: 'stats/summary',
    about: 'CPU, memory, files, network and processes in /stats/summary',
    run: summary,
  },
  {
    name: 'stats/cadvisor',
    about: 'series of /metrics/cadvisor have the labels namespace, pod and container',
    run: (trial) => series(trial, 'metrics/cadvisor', CADVISOR),
  },
  {
    name: 'stats/resource',
    about: 'the same of /metrics/resource, which the metrics server reads',
    run: (trial) => series(trial, 'metrics/resource', CADVISOR),
  },
];
