/** In-place resize of pods. */
import assert from 'node:assert/strict';
import type { V1ContainerStatus, V1Pod } from '@kubernetes/client-node';
import { type Case, Skip } from '../case.ts';
import { ApiError, STRATEGIC_PATCH } from '../cluster/rest.ts';
import { containerOf } from '../cluster/states.ts';
import { since } from '../needs.ts';
import type { Trial } from '../trial.ts';
import { cpuLimit, memoryLimit } from './cgroup.ts';

const MIB = 1024 * 1024;

const both = (cpu: string, memory: string) => ({ requests: { cpu, memory }, limits: { cpu, memory } });

/** The condition that says why the kubelet does not resize (Deferred, Infeasible). */
const pending = (pod: V1Pod) => pod.status?.conditions?.find(({ type }) => type === 'PodResizePending');

/** Nodes with static CPU or memory managers, swap or cgroup v1 report that they cannot do it at all. */
function skipUnlessPossible(pod: V1Pod): void {
  const { reason, message } = pending(pod) ?? {};
  if (reason === 'Infeasible' && /not supported|static policy/i.test(message ?? ''))
    throw new Skip(`the kubelet does not resize here: ${message}`);
}

async function resize(trial: Trial, pod: string, cpu: string, memory: string): Promise<V1ContainerStatus> {
  const containers = [{ name: 'main', resources: both(cpu, memory) }];
  await trial.patch(trial.path(`pods/${pod}/resize`), STRATEGIC_PATCH, { spec: { containers } });
  return await trial.until(pod, `the status has ${cpu} and ${memory}`, (seen) => {
    skipUnlessPossible(seen);
    const main = containerOf(seen, 'main');
    const { limits } = main?.resources ?? {};
    return limits?.['cpu'] === cpu && limits?.['memory'] === memory && main?.state?.running && main;
  });
}

async function inPlace(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{ resources: both('200m', '64Mi') }] });
  const before = containerOf(trial.cluster.pods.get(name), 'main')?.containerID;
  for (const [cpu, memory, cpus, bytes] of [
    ['300m', '96Mi', 0.3, 96 * MIB],
    ['150m', '80Mi', 0.15, 80 * MIB],
  ] as const) {
    const after = await resize(trial, name, cpu, memory);
    assert.deepEqual([after.restartCount, after.containerID], [0, before], 'the container was restarted');
    assert.equal(await cpuLimit(trial, name), cpus);
    assert.equal(await memoryLimit(trial, name), bytes);
  }
}

async function restart(trial: Trial): Promise<void> {
  const resizePolicy = [
    { resourceName: 'memory', restartPolicy: 'RestartContainer' },
    { resourceName: 'cpu', restartPolicy: 'NotRequired' },
  ];
  const name = await trial.start({
    restartPolicy: 'Always',
    containers: [{ resources: both('200m', '64Mi'), resizePolicy }],
  });
  const after = await resize(trial, name, '200m', '96Mi');
  assert.equal(after.restartCount, 1);
  assert.equal(await memoryLimit(trial, name), 96 * MIB);
}

async function infeasible(trial: Trial): Promise<void> {
  const name = await trial.start({ containers: [{ resources: both('100m', '64Mi') }] });
  const containers = [{ name: 'main', resources: both('9000', '64Mi') }];
  const isAdmitted = await trial
    .patch(trial.path(`pods/${name}/resize`), STRATEGIC_PATCH, { spec: { containers } })
    .then(
      () => true,
      (error: unknown) => {
        // Newer API servers refuse at once what the node can never have.
        if (error instanceof ApiError && error.code === 403 && /allocatable/.test(error.detail)) return false;
        throw error;
      },
    );
  if (isAdmitted)
    await trial.until(name, 'the resize is Infeasible', (pod) => pending(pod)?.reason === 'Infeasible');
  assert.equal(await cpuLimit(trial, name), 0.1);
}

const NEEDS = [since(33, 'in-place resize')];

export const RESIZE_CASES: readonly Case[] = [
  {
    name: 'resize/in-place',
    about: 'CPU and memory, up and down, without a restart',
    needs: NEEDS,
    run: inPlace,
  },
  {
    name: 'resize/restart',
    about: 'with a restart where the container asks for it',
    needs: NEEDS,
    run: restart,
  },
  {
    name: 'resize/infeasible',
    about: 'more than the node has: refused, nothing changes',
    needs: NEEDS,
    run: infeasible,
  },
];
