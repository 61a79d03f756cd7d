/** Section 10 of the kubelet's contract, as far as other suites do not test it: the driver, parents, the sandbox's own score. */
import assert from 'node:assert/strict';
import { readFileSync } from 'node:fs';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { endsClean, refused, TestNode } from '../harness/pods.ts';

const node = await TestNode.start('cgroups');

test('the driver is reported; a parent in the form of the other driver, or outside the hierarchy, is refused', async () => {
  assert.equal((await node.client.RuntimeConfig({})).linux?.cgroupDriver, cri.CgroupDriver.CGROUPFS);
  const run = (cgroupParent: string) => {
    const { linux, ...config } = node.podConfig();
    return node.client.RunPodSandbox({ config: { ...config, linux: { ...linux, cgroupParent } } });
  };
  await refused(run('/kubepods.slice/kubepods-podx.slice'), 'InvalidArgument', /cgroup_parent/);
  for (const parent of ['kubepods', '/a/../../b', '/a//b'])
    await refused(run(parent), 'InvalidArgument', /cgroup_parent/);
  assert.deepEqual((await node.client.ListPodSandbox({})).items, []);
  assert.deepEqual(node.groups(), []);
});

test('the pause process has the lowest oom_score_adj that the daemon may set', async () => {
  const pod = await node.runPod();
  const reply = await node.client.PodSandboxStatus({ podSandboxId: pod, verbose: true });
  const { pid } = JSON.parse(reply.info['info'] ?? '{}') as { pid: number };
  const score = (of: number | 'self') => Number(readFileSync(`/proc/${of}/oom_score_adj`, 'utf8'));
  const rights = /CapEff:\t([0-9a-f]+)/.exec(readFileSync('/proc/self/status', 'utf8'))?.[1] ?? '0';
  const mayLower = (BigInt(`0x${rights}`) & (1n << 24n)) !== 0n;
  assert.equal(score(pid), mayLower ? -998 : Math.max(-998, score('self')));
});

test('a container’s cgroup is named by its id; huge page sizes that the node lacks are ignored', async () => {
  const hugepageLimits = [
    { pageSize: '2MB', limit: fromBigInt(0n) },
    { pageSize: '7MB', limit: fromBigInt(0n) },
  ];
  const pod = await node.runPod();
  const id = await node.run(pod, { resources: { hugepageLimits } });
  const { pid } = await node.facts(id);
  const groups = readFileSync(`/proc/${pid}/cgroup`, 'utf8').trim().split('\n');
  const memory = groups.find((line) => /:memory:|^0::/.test(line)) ?? '';
  assert.ok(memory.endsWith(`/${id}`), groups.join(' '));
});

endsClean(node);
