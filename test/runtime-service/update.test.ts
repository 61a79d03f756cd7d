/** UpdateContainerResources: what is in force, what is shown, what is refused, and what a crash leaves. */
import assert from 'node:assert/strict';
import { readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { type cri, fromBigInt, toBigInt } from '#api/cri/v1/index.ts';
import { decode, encode } from '#core/json-record.ts';
import { openCgroups } from '#linux/cgroup/open.ts';
import { busy, endsClean, refused, TestNode } from '../harness/pods.ts';
import { endProcesses } from '../harness/processes.ts';

const node = await TestNode.start('update');
const pod = await node.runPod();
const cgroups = openCgroups();
const isV1 = cgroups.version === 1;
const MIB = 1n << 20n;

type Limits = Partial<Record<'cpuShares' | 'cpuQuota' | 'cpuPeriod' | 'memoryLimitInBytes', bigint>>;
const linux = (limits: Limits, more: cri.LinuxContainerResourcesInit = {}) => ({
  ...Object.fromEntries(Object.entries(limits).map(([name, value]) => [name, fromBigInt(value)])),
  ...more,
});
const update = (id: string, limits: Limits, more: cri.LinuxContainerResourcesInit = {}) =>
  node.client.UpdateContainerResources({ containerId: id, linux: linux(limits, more) });

/** What the cgroup itself has: shares or weight, quota, memory limit. */
async function inForce(id: string): Promise<{ cpu: string; quota: string; memory: string }> {
  const { cgroup } = await node.facts(id);
  const read = (v1: string, v2: string) => cgroups.read(cgroup, isV1 ? v1 : v2) ?? '';
  return {
    cpu: read('cpu.shares', 'cpu.weight'),
    quota: read('cpu.cfs_quota_us', 'cpu.max').split(' ')[0] ?? '',
    memory: read('memory.limit_in_bytes', 'memory.max'),
  };
}

async function shown(id: string): Promise<{ shares: bigint; quota: bigint; memory: bigint }> {
  const found = (await node.status(id)).resources?.linux;
  return {
    shares: toBigInt(found?.cpuShares),
    quota: toBigInt(found?.cpuQuota),
    memory: toBigInt(found?.memoryLimitInBytes),
  };
}

const start = { cpuShares: 512n, cpuQuota: 20_000n, cpuPeriod: 100_000n, memoryLimitInBytes: 64n * MIB };

test('limits of a running container change, up and down, and the status shows them', async () => {
  const id = await node.run(pod, { command: busy, resources: linux(start) });
  const before = await inForce(id);
  await update(id, { cpuShares: 1024n, cpuQuota: 50_000n, memoryLimitInBytes: 128n * MIB });
  const after = await inForce(id);
  assert.notEqual(after.cpu, before.cpu);
  assert.deepEqual([after.quota, after.memory], ['50000', `${128n * MIB}`]);
  assert.deepEqual(await shown(id), { shares: 1024n, quota: 50_000n, memory: 128n * MIB });
  await update(id, { memoryLimitInBytes: 32n * MIB });
  assert.equal((await inForce(id)).memory, `${32n * MIB}`);
  assert.deepEqual(await shown(id), { shares: 1024n, quota: 50_000n, memory: 32n * MIB });
  await update(id, { memoryLimitInBytes: 32n * MIB });
  assert.equal((await inForce(id)).quota, '50000', 'what is not named stays');
  await update(id, { cpuQuota: -1n });
  assert.equal((await inForce(id)).quota, isV1 ? '-1' : 'max');
  assert.equal((await shown(id)).quota, -1n);
  await node.remove(id);
});

test('limits of a created container are those that it starts with', async () => {
  const id = await node.create(pod, { command: busy, resources: linux(start) });
  await update(id, { memoryLimitInBytes: 48n * MIB, cpuQuota: 30_000n });
  assert.deepEqual(await shown(id), { shares: 512n, quota: 30_000n, memory: 48n * MIB });
  await node.client.StartContainer({ containerId: id });
  const { quota, memory } = await inForce(id);
  assert.deepEqual([quota, memory], ['30000', `${48n * MIB}`]);
  assert.equal((await node.exec(id, ['echo', 'well'])).out, 'well\n');
  await node.remove(id);
});

test('a container without a quota starts, and one may lose all its limits', async () => {
  const none = { cpuQuota: -1n, cpuPeriod: 100_000n };
  const id = await node.run(pod, { command: busy, resources: linux(none) });
  await update(id, start);
  await update(id, { ...none, memoryLimitInBytes: -1n });
  const { quota, memory } = await inForce(id);
  assert.equal(quota, isV1 ? '-1' : 'max');
  assert.ok(memory === 'max' || BigInt(memory) > 2n ** 62n, memory);
  await node.remove(id);
});

test('one container without limits gets some', async () => {
  const id = await node.run(pod, { command: busy });
  await update(id, start);
  const { quota, memory } = await inForce(id);
  assert.deepEqual([quota, memory], ['20000', `${64n * MIB}`]);
  await node.remove(id);
});

test('a limit below what is used is refused, and nothing changes', async () => {
  const hold = 'x=$(head -c 20000000 /dev/zero | tr "\\0" x); echo ready; sleep 1000; echo $x';
  const id = await node.run(pod, { command: ['sh', '-c', hold], resources: linux(start) });
  for (let lines = 0; lines === 0; ) lines = (await node.logLines(id)).length;
  const before = await inForce(id);
  const asked = update(id, { memoryLimitInBytes: 8n * MIB, cpuQuota: 10_000n });
  await refused(asked, 'FailedPrecondition', /below the \d+ bytes/);
  assert.deepEqual(await inForce(id), before);
  assert.equal((await shown(id)).memory, 64n * MIB);
  await node.remove(id);
});

test('what the runtime refuses in the middle is reverted in full', async () => {
  const id = await node.run(pod, { command: busy, resources: linux(start) });
  const before = [await inForce(id), await shown(id)];
  const asked = update(id, { memoryLimitInBytes: 96n * MIB, cpuShares: 2048n }, { cpusetCpus: '4000' });
  await refused(asked, 'Internal', /update/);
  assert.deepEqual([await inForce(id), await shown(id)], before);
  assert.equal((await node.status(id)).resources?.linux?.cpusetCpus, '');
  await update(id, { memoryLimitInBytes: 96n * MIB });
  assert.equal((await inForce(id)).memory, `${96n * MIB}`, 'the next update works');
  await node.remove(id);
});

test('invalid requests are refused by name', async () => {
  const id = await node.run(pod, { command: busy, resources: linux(start) });
  await refused(update(id, { cpuQuota: -5n }), 'InvalidArgument', /cpu_quota/);
  await refused(update(id, {}, { cpusetCpus: 'all' }), 'InvalidArgument', /cpuset_cpus/);
  await refused(update(id, {}, { unified: { 'cgroup.kill': '1' } }), 'InvalidArgument', /cgroup\.kill/);
  if (!isV1) {
    await refused(
      update(id, {}, { unified: { 'memory.no_such': '1' } }),
      'InvalidArgument',
      /memory\.no_such/,
    );
    await refused(update(id, {}, { unified: { '../x': '1' } }), 'InvalidArgument');
  }
  const both = { memorySwapLimitInBytes: fromBigInt(MIB) };
  await refused(update(id, { memoryLimitInBytes: 64n * MIB }, both), 'InvalidArgument', /swap/);
  await refused(node.client.UpdateContainerResources({ containerId: id }), 'InvalidArgument', /linux/);
  await refused(update('f'.repeat(64), start), 'NotFound');
  await node.stop(id);
  await refused(update(id, start), 'FailedPrecondition', /exited/);
  await node.remove(id);
});

test('many updates at once end with one of them, whole', async () => {
  const id = await node.run(pod, { command: busy, resources: linux(start) });
  const wanted = [1n, 2n, 3n, 4n].map((n) => ({ memoryLimitInBytes: n * 64n * MIB, cpuQuota: n * 10_000n }));
  await Promise.all(wanted.map((limits) => update(id, limits)));
  const { memory, quota } = await inForce(id);
  assert.ok(
    wanted.some((limits) => `${limits.memoryLimitInBytes} ${limits.cpuQuota}` === `${memory} ${quota}`),
  );
  const status = await shown(id);
  assert.deepEqual([`${status.memory}`, `${status.quota}`], [memory, quota]);
  await node.remove(id);
});

test('an interrupted update is finished, of running and of created containers', async () => {
  const running = await node.run(pod, { command: busy, resources: linux(start) });
  const made = await node.create(pod, { command: busy, resources: linux(start) });
  const gone = await node.run(pod, { command: busy, resources: linux(start) });
  const { cgroup: killed } = await node.facts(gone);
  await node.recorded();
  await node.restart('kill', async () => {
    for (const id of [running, made, gone]) {
      const file = join(node.settings.directory, 'root/containers', id, 'record.json');
      const record = decode(readFileSync(file, 'utf8')) as { resources: object };
      const intended = { ...record.resources, memoryLimitBytes: 80n * MIB };
      writeFileSync(file, encode({ ...record, update: intended }));
    }
    endProcesses(node.processesIn(killed)); // with the first the others may be gone
  });
  await node.exited(gone);
  await node.client.StartContainer({ containerId: made });
  assert.equal((await shown(made)).memory, 80n * MIB);
  assert.equal((await inForce(made)).memory, `${80n * MIB}`);
  // The recovery takes its turn before this one.
  await update(running, { cpuShares: 256n });
  assert.deepEqual(await shown(running), { shares: 256n, quota: 20_000n, memory: 80n * MIB });
  assert.equal((await inForce(running)).memory, `${80n * MIB}`);
});

endsClean(node);
