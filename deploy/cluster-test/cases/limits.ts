/** Limits of containers and pods. */
import assert from 'node:assert/strict';
import { type Case, Skip } from '../case.ts';
import { containerOf } from '../cluster/states.ts';
import type { Trial } from '../trial.ts';
import { cpuLimit, cpuWeight, memoryLimit } from './cgroup.ts';

const MIB = 1024 * 1024;

async function visible(trial: Trial): Promise<void> {
  const resources = { requests: { cpu: '100m', memory: '32Mi' }, limits: { cpu: '500m', memory: '64Mi' } };
  const name = await trial.start({ containers: [{ resources }, { name: 'other' }] });
  assert.equal(await memoryLimit(trial, name), 64 * MIB);
  assert.equal(await cpuLimit(trial, name), 0.5);
  const { weight, shares } = await cpuWeight(trial, name);
  // 100m are 102 shares. How they become a weight depends on the OCI runtime: 4 by the older formula, 17 by the newer.
  assert.ok(
    shares === undefined ? weight === 4 || weight === 17 : shares === 102,
    `weight ${weight}, shares ${shares}`,
  );
  assert.equal(await memoryLimit(trial, name, 'other'), Number.POSITIVE_INFINITY);
  assert.equal(await cpuLimit(trial, name, 'other'), Number.POSITIVE_INFINITY);
}

async function outOfMemory(trial: Trial): Promise<void> {
  const { name, pod } = await trial.finish({
    containers: [
      {
        script: 'exec dd if=/dev/zero of=/dev/null bs=256M count=1',
        resources: { limits: { memory: '32Mi' } },
      },
    ],
  });
  const { reason, exitCode } = containerOf(pod, 'main')?.state?.terminated ?? {};
  assert.deepEqual([reason, exitCode], ['OOMKilled', 137], name);
}

async function otherSurvives(trial: Trial): Promise<void> {
  const name = await trial.create({
    restartPolicy: 'Always',
    containers: [
      {
        script: 'sleep 2; exec dd if=/dev/zero of=/dev/null bs=256M count=1',
        resources: { limits: { memory: '32Mi' } },
      },
      { name: 'other' },
    ],
  });
  await trial.until(
    name,
    'main was killed',
    (pod) => containerOf(pod, 'main')?.lastState?.terminated?.reason === 'OOMKilled',
  );
  assert.equal(containerOf(trial.cluster.pods.get(name), 'other')?.restartCount, 0);
}

/** More than this would burden the node more than a test should. */
const MOST_PIDS = 4096;

async function pids(trial: Trial): Promise<void> {
  const limit = trial.facts.kubeletConfig?.podPidsLimit;
  if (limit === undefined) throw new Skip("the kubelet's configuration cannot be read (nodes/proxy)");
  if (limit <= 0) throw new Skip('the kubelet has no podPidsLimit');
  if (limit > MOST_PIDS) throw new Skip(`the kubelet's podPidsLimit is ${limit}: too many to try`);
  const name = await trial.start({});
  // Longer than the slowest node needs for all of them; the session ends with the shell, for they do not have its streams.
  const sleeper = 'sleep 3600 >/dev/null 2>&1';
  const script = `i=0; while [ $i -lt ${limit + 20} ]; do ${sleeper} & i=$((i+1)); done; echo "no limit"`;
  const { stdout, stderr } = await trial.exec(name, ['sh', '-c', script]);
  assert.equal(stdout.toString(), '', `${limit + 20} processes could be started`);
  assert.match(stderr.toString(), /fork|resource/i);
}

async function ephemeralStorage(trial: Trial): Promise<void> {
  const name = await trial.create({
    containers: [
      {
        script: 'head -c 32000000 /dev/zero > /tmp/file; sleep 3600',
        resources: { limits: { 'ephemeral-storage': '4Mi' } },
      },
    ],
  });
  const pod = await trial.until(
    name,
    'the pod is evicted',
    (seen) => seen.status?.reason === 'Evicted' && seen,
  );
  assert.match(pod.status?.message ?? '', /exceeds|exceeded/);
}

export const LIMIT_CASES: readonly Case[] = [
  {
    name: 'limits/visible',
    about: "memory and CPU are in the container's cgroup, for each its own",
    run: visible,
  },
  { name: 'limits/out-of-memory', about: 'OOMKilled and 137 for what takes more memory', run: outOfMemory },
  { name: 'limits/oom-alone', about: 'the other container of the pod is not concerned', run: otherSurvives },
  { name: 'limits/pids', about: 'podPidsLimit holds', run: pids },
  {
    name: 'limits/ephemeral-storage',
    about: 'a writable layer beyond its limit evicts the pod',
    run: ephemeralStorage,
  },
];
