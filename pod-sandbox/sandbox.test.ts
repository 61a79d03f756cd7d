import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { type ContainerId, newContainerId, newSandboxId } from '#core/ids.ts';
import { decode, encode } from '#core/json-record.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import { sampleConfig, sampleResources } from '#test/fixtures/sandbox-config.ts';
import { CgroupfsDriver } from './cgroup/cgroupfs.ts';
import { podLimits } from './cgroup/limits.ts';
import { defaultLinux, sameConfig } from './config.ts';
import { plan } from './lifecycle/plan.ts';
import { checkRecord, nameKey, type SandboxRecord, toNotReady, toReady, withProcess } from './sandbox.ts';
import { podView, sandboxView } from './views.ts';

const cgroups = new CgroupfsDriver({} as Cgroups, '/crisp');
const network = {
  name: 'n',
  cniVersion: '1.0.0' as const,
  plugins: [{ type: 'bridge' }],
  source: '/n.conflist',
};
const process = { pid: 7, startTime: '1', bootId: 'boot' };
const fresh = (config = sampleConfig()): SandboxRecord => {
  const kernel = { processes: { bootId: 'boot' } } as Parameters<typeof plan>[0]['kernel'];
  return plan(
    { state: '/run/crisp', cgroups, kernel },
    newSandboxId(),
    { config, runtimeHandler: '' },
    { networks: [network] },
  ).record;
};

test('a sandbox goes from creating to ready to not ready, and no other way', () => {
  const creating = fresh();
  const placed = withProcess(creating, process, { net: '/pin' });
  const ready = toReady(placed, creating.attachments);
  assert.equal(ready.state.name, 'ready');
  assert.throws(
    () => toReady(ready, []),
    (error) => hasCode(error, 'Internal'),
  );
  assert.throws(
    () => withProcess(ready, process, {}),
    (error) => hasCode(error, 'Internal'),
  );
  const stopped = toNotReady(ready, 'stopped', 'asked');
  assert.deepEqual(stopped.state, { name: 'notReady', reason: 'stopped', detail: 'asked' });
  assert.equal(toNotReady(stopped, 'dead', 'later'), stopped, 'the first reason stays');
  assert.deepEqual(toNotReady(creating, 'stopped', 'x').state, {
    name: 'notReady',
    reason: 'failed',
    detail: 'x',
  });
});

test('undone in reverse, the network goes first, then the process, and the directory last', () => {
  const { intents } = withProcess(fresh(), process, {});
  assert.deepEqual(
    intents.map(({ kind }) => kind),
    ['directory', 'shm', 'pins', 'cgroup', 'process', 'network'],
  );
});

test('a record survives its file, with keys and numbers that JSON alone would change', () => {
  const labels = JSON.parse(
    '{"__proto__": "a", "constructor": "b", "$bigint": "not a number", "$$bigint": "c"}',
  );
  const { security } = defaultLinux;
  const linux = { ...defaultLinux, security: { ...security, supplementalGroups: [2n ** 63n - 1n] } };
  const record = fresh(sampleConfig({ labels, linux }));
  const read = decode(encode(record)) as SandboxRecord;
  checkRecord(read);
  assert.deepEqual(Object.entries(read.config.labels), Object.entries(labels));
  assert.equal(read.config.linux.security.supplementalGroups[0], 2n ** 63n - 1n);
  assert.equal(read.createdAt, record.createdAt);
  assert.ok(sameConfig(read.config, record.config));
  assert.throws(() => checkRecord({ ...read, intents: undefined } as unknown as SandboxRecord));
  assert.throws(() => checkRecord({ version: 3 } as SandboxRecord));
});

test('two requests are the same whatever the order of their maps; the name is namespace, name, uid and attempt', () => {
  const a = sampleConfig({ labels: { a: '1', b: '2' } });
  assert.ok(sameConfig(a, sampleConfig({ labels: { b: '2', a: '1' } })));
  assert.ok(!sameConfig(a, sampleConfig({ labels: { a: '1', b: '3' } })));
  assert.ok(!sameConfig(a, sampleConfig({ labels: JSON.parse('{"a":"1","b":"2","__proto__":"3"}') })));
  const metadata = { ...a.metadata, attempt: 1 };
  assert.notEqual(nameKey(a), nameKey({ ...a, metadata }));
});

test('clients see a sandbox that is being made as not ready, without a reason', () => {
  const record = fresh();
  const { state, reason, network: shown } = sandboxView(record);
  assert.deepEqual([state, reason, shown.ip], ['notReady', undefined, '']);
  const view = podView({ ...record, pins: { net: '/net' } });
  assert.deepEqual([view.ready, view.network, view.pid, view.pins], [false, 'pod', 'pod', { net: '/net' }]);
});

test('cgroups: the leaves are beside the containers', () => {
  const id = newSandboxId();
  const container: ContainerId = newContainerId();
  const given = cgroups.place(id, '/kubepods/pod1/');
  assert.deepEqual(given, { parent: '/kubepods/pod1', monitor: `/kubepods/pod1/${id}`, own: false });
  assert.equal(cgroups.container(given, container).path, `/kubepods/pod1/${container}`);
  assert.deepEqual(cgroups.place(id, ''), { parent: `/crisp/${id}`, monitor: `/crisp/${id}/pod`, own: true });
});

test('the limits of a pod are those of its containers and its overhead, in the form of each cgroup version', () => {
  const resources = sampleResources({ cpuQuota: 50_000n, cpuShares: 1024n, memoryLimitBytes: 1000n });
  const overhead = sampleResources({ cpuQuota: 10_000n, cpuShares: 2n, memoryLimitBytes: 24n });
  const linux = { ...defaultLinux, resources, overhead };
  assert.deepEqual(podLimits(linux, 1), [
    { file: 'cpu.shares', value: '1026' },
    { file: 'cpu.cfs_period_us', value: '100000' },
    { file: 'cpu.cfs_quota_us', value: '60000' },
    { file: 'memory.limit_in_bytes', value: '1024' },
  ]);
  const unified = {
    ...linux,
    resources: { ...resources, unified: { 'memory.max': '5', 'memory.oom.group': '1' } },
  };
  assert.deepEqual(podLimits(unified, 2), [
    { file: 'cpu.weight', value: '40' },
    { file: 'cpu.max', value: '60000 100000' },
    { file: 'memory.max', value: '5' },
    { file: 'memory.oom.group', value: '1' },
  ]);
  assert.deepEqual(podLimits({ ...defaultLinux, overhead }, 2), [], 'overhead alone limits nothing');
});
