/** UpdatePodSandboxResources and UpdateRuntimeConfig. */
import assert from 'node:assert/strict';
import { mkdirSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { fromBigInt } from '#api/cri/v1/index.ts';
import { decode, encode } from '#core/json-record.ts';
import { openCgroups } from '#linux/cgroup/open.ts';
import { endsClean, POD, refused, TestNode, until } from '../harness/pods.ts';

let template = '';
const node = await TestNode.start('pod-updates', {
  prepare: (directory) => {
    template = join(directory, 'template.json');
    mkdirSync(join(directory, 'crisp.toml.d'), { recursive: true });
    writeFileSync(
      join(directory, 'crisp.toml.d/cni.toml'),
      `[cni]\ntemplate = ${JSON.stringify(template)}\n`,
    );
  },
});
const cgroups = openCgroups();
const isV1 = cgroups.version === 1;
const MIB = 1n << 20n;
const resources = (memory: bigint, cpuQuota = 0n) => ({
  memoryLimitInBytes: fromBigInt(memory),
  cpuQuota: fromBigInt(cpuQuota),
});

interface Info {
  readonly cgroup: string;
  readonly resources?: { readonly memoryLimitBytes: number; readonly cpuQuota: number };
  readonly overhead?: { readonly memoryLimitBytes: number };
}
async function info(podSandboxId: string): Promise<Info> {
  const reply = await node.client.PodSandboxStatus({ podSandboxId, verbose: true });
  return JSON.parse(reply.info['info'] ?? '{}');
}
const memoryOf = (group: string) =>
  cgroups.read(group, isV1 ? 'memory.limit_in_bytes' : 'memory.max') ?? 'missing';
const quotaOf = (group: string) =>
  (cgroups.read(group, isV1 ? 'cpu.cfs_quota_us' : 'cpu.max') ?? 'missing').split(' ')[0];

test('limits of a pod in a cgroup created by crisp are applied, raised, lowered and removed', async () => {
  const pod = await node.runPod();
  const { cgroup } = await info(pod);
  await node.client.UpdatePodSandboxResources({
    podSandboxId: pod,
    overhead: resources(16n * MIB),
    resources: resources(64n * MIB, 50_000n),
  });
  assert.deepEqual([memoryOf(cgroup), quotaOf(cgroup)], [`${80n * MIB}`, '50000']);
  const shown = await info(pod);
  assert.deepEqual(
    [shown.resources?.memoryLimitBytes, shown.overhead?.memoryLimitBytes],
    [Number(64n * MIB), Number(16n * MIB)],
  );
  await node.client.UpdatePodSandboxResources({ podSandboxId: pod, resources: resources(32n * MIB) });
  assert.equal(memoryOf(cgroup), `${48n * MIB}`, 'overhead stays');
  assert.equal(quotaOf(cgroup), isV1 ? '-1' : 'max', 'a limit that is no longer given is removed');
  await node.restart('kill');
  assert.equal((await info(pod)).resources?.memoryLimitBytes, Number(32n * MIB));
  assert.equal(memoryOf(cgroup), `${48n * MIB}`);
});

test('limits recorded before a crash are applied afterwards', async () => {
  const pod = await node.runPod();
  const { cgroup } = await info(pod);
  await node.client.UpdatePodSandboxResources({ podSandboxId: pod, resources: resources(64n * MIB) });
  await node.recorded();
  await node.restart('kill', async () => {
    const file = join(node.settings.directory, 'root/sandboxes', pod, 'record.json');
    const record = decode(readFileSync(file, 'utf8')) as { limits: { resources: object } };
    const limits = { resources: { ...record.limits.resources, memoryLimitBytes: 96n * MIB } };
    writeFileSync(file, encode({ ...record, limits }));
  });
  await until('the recorded limit is applied', () => memoryOf(cgroup) === `${96n * MIB}`);
});

test('a cgroup of the kubelet’s is never changed; the limits are reported', async () => {
  const parent = `${node.cgroup}/kubepods/pod1`;
  await cgroups.create(parent);
  const before = memoryOf(parent);
  const { linux, ...config } = node.podConfig();
  const pod = await node.runPod({ ...config, linux: { ...linux, cgroupParent: parent } });
  await node.client.UpdatePodSandboxResources({ podSandboxId: pod, resources: resources(64n * MIB) });
  assert.equal(memoryOf(parent), before);
  assert.equal((await info(pod)).resources?.memoryLimitBytes, Number(64n * MIB));
  await node.client.RemovePodSandbox({ podSandboxId: pod });
  await cgroups.remove(`${node.cgroup}/kubepods`, AbortSignal.timeout(10_000));
});

test('a retry of RunPodSandbox after an update is the same pod', async () => {
  const config = node.podConfig();
  const { podSandboxId } = await node.client.RunPodSandbox({ config });
  await node.client.UpdatePodSandboxResources({ podSandboxId, resources: resources(64n * MIB) });
  assert.equal((await node.client.RunPodSandbox({ config })).podSandboxId, podSandboxId);
});

test('invalid updates are refused, and nothing changes', async () => {
  const pod = await node.runPod();
  const hold = 'x=$(head -c 20000000 /dev/zero | tr "\\0" x); echo ready; sleep 1000; echo $x';
  const id = await node.run(pod, { command: ['sh', '-c', hold] });
  await until('memory is held', async () => (await node.logLines(id)).length > 0);
  const { cgroup } = await info(pod);
  const before = memoryOf(cgroup);
  const update = (podSandboxId: string, memory: bigint, unified: Record<string, string> = {}) =>
    node.client.UpdatePodSandboxResources({ podSandboxId, resources: { ...resources(memory), unified } });
  await refused(update(pod, 4n * MIB), 'FailedPrecondition', /below the \d+ bytes/);
  await refused(update(pod, 0n, { 'cgroup.kill': '1' }), 'InvalidArgument', /cgroup\.kill/);
  await refused(update(pod, 0n, { '../x': '1' }), 'InvalidArgument');
  if (!isV1) await refused(update(pod, 64n * MIB, { 'memory.no_such': '1' }), 'InvalidArgument', /no_such/);
  await refused(update('f'.repeat(64), MIB), 'NotFound');
  assert.equal(memoryOf(cgroup), before);
  assert.equal((await info(pod)).resources, undefined);
  await node.client.StopPodSandbox({ podSandboxId: pod });
  await refused(update(pod, 64n * MIB), 'FailedPrecondition', /not ready/);
});

const send = (podCidr: string) =>
  node.client.UpdateRuntimeConfig({ runtimeConfig: { networkConfig: { podCidr } } });
const confDir = join(node.settings.directory, 'cni/net.d');
const file = join(confDir, '10-crisp.conflist');

test('a range of pod addresses writes the configuration, again only when it changes', async () => {
  const list = JSON.parse(readFileSync(file, 'utf8'));
  list.plugins[0].ipam.ranges = '{{ranges}}';
  list.plugins[0].ipam.routes = '{{routes}}';
  writeFileSync(template, JSON.stringify(list));
  await send('10.234.7.0/24');
  const { ino } = statSync(file);
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).plugins[0].ipam.ranges, [
    [{ subnet: '10.234.7.0/24' }],
  ]);
  await send('10.234.7.0/24');
  assert.equal(statSync(file).ino, ino);
  await send('10.234.7.128/25');
  assert.notEqual(statSync(file).ino, ino);
  const pod = await node.runPod({}, { network: POD });
  const { status } = await node.client.PodSandboxStatus({ podSandboxId: pod });
  assert.match(status?.network?.ip ?? '', /^10\.234\.7\.(12[89]|1[3-9]\d|2\d\d)$/);
  await send('10.234.7.0/24,fd00:1::/64');
  assert.deepEqual(JSON.parse(readFileSync(file, 'utf8')).plugins[0].ipam.routes, [
    { dst: '0.0.0.0/0' },
    { dst: '::/0' },
  ]);
  await send('10.234.7.0/24');
});

test('an invalid range or template leaves the configuration unchanged', async () => {
  const before = readFileSync(file, 'utf8');
  await refused(send('10.244.1.0/99'), 'InvalidArgument', /pod_cidr/);
  await refused(send('fd00::/64,fd01::/64'), 'InvalidArgument', /family/);
  await send('');
  await node.client.UpdateRuntimeConfig({});
  const good = readFileSync(template, 'utf8');
  for (const text of ['', '{}', '[]', '{"name": "x", "plugins": []}']) {
    writeFileSync(template, text);
    await refused(send('10.244.1.0/24'), 'FailedPrecondition', /template/);
  }
  rmSync(template);
  await refused(send('10.244.1.0/24'), 'FailedPrecondition', /cannot be read/);
  writeFileSync(template, good);
  assert.equal(readFileSync(file, 'utf8'), before);
});

endsClean(node);
