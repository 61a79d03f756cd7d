import assert from 'node:assert/strict';
import test from 'node:test';
import { noResources } from '#core/model/resources.ts';
import { CONTAINER_ID, POD_ID, pod, received, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage, podMessage, resourcesMessage } from './index.ts';

const containerOf = (...given: Parameters<typeof containerMessage>) =>
  received('Container', containerMessage(...given));

/** Without prototypes and absent fields: for comparisons. */
const plain = (value: unknown): unknown => {
  if (Array.isArray(value)) return value.map(plain);
  if (typeof value !== 'object' || value === null) return value;
  const fields = Object.entries(value).filter(([, item]) => item !== undefined);
  return Object.fromEntries(fields.map(([name, item]) => [name, plain(item)]));
};

test('a pod: identity, limits beyond 2^53, namespaces, addresses', () => {
  const message = received('PodSandbox', podMessage(pod));
  assert.deepEqual(plain({ ...message, linux: undefined }), {
    id: POD_ID,
    name: 'web-0',
    uid: 'uid-0',
    namespace: 'default',
    labels: { app: 'web' },
    annotations: { note: 'pod' },
    runtimeHandler: 'crun',
    pid: 42,
    ips: ['10.0.0.7', 'fd00::7'],
  });
  const { linux } = message;
  assert.equal(linux?.podOverhead, undefined);
  assert.equal(linux?.podResources?.memory?.limit?.value, 9_007_199_254_740_993n);
  assert.equal(linux?.podResources?.cpu?.shares?.value, 204n);
  assert.equal(linux?.podResources?.cpu?.quota, undefined);
  assert.deepEqual(plain(linux?.namespaces), [{ type: 'network', path: '/run/netns/web' }]);
  assert.equal(linux?.cgroupParent, '/kubepods/pod0');
  assert.equal(linux?.cgroupsPath, '/kubepods/pod0/pause');
});

test('a container that is being created: record and specification', () => {
  const message = containerOf({ record: { ...record, cdiDevices: ['vendor.com/gpu=0'] }, spec });
  assert.equal(message.id, CONTAINER_ID);
  assert.equal(message.podSandboxId, POD_ID);
  assert.equal(message.name, 'web');
  assert.equal(message.state, 0);
  assert.deepEqual(plain(message.labels), { part: 'front' });
  // The kubelet's own annotations win over those of the specification.
  assert.deepEqual(plain(message.annotations), {
    'io.kubernetes.cri.container-name': 'web',
    note: 'container',
  });
  assert.deepEqual(message.args, ['/bin/web', '--port=80']);
  assert.deepEqual(message.env, ['PATH=/bin', 'MODE=plain', 'EMPTY=']);
  assert.deepEqual(plain(message.mounts), spec.mounts);
  assert.deepEqual(plain(message.hooks?.poststop), [
    { path: '/usr/bin/hook', args: ['hook'], env: [], timeout: { value: 5n } },
  ]);
  assert.deepEqual(plain(message.rlimits), [
    { type: 'RLIMIT_NOFILE', hard: 18_446_744_073_709_551_615n, soft: 1024n },
  ]);
  assert.deepEqual(plain(message.user), { uid: 1000, gid: 1001, additionalGids: [1002] });
  assert.deepEqual(plain(message.CDIDevices), [{ name: 'vendor.com/gpu=0' }]);
  assert.deepEqual(plain(message.image), {
    name: 'registry.example/web:1',
    digest: `sha256:${'b'.repeat(64)}`,
    configDigest: `sha256:${'a'.repeat(64)}`,
  });
  assert.equal(message.createdAt, 1_700_000_000_123_456_789n);
  assert.deepEqual([message.startedAt, message.finishedAt, message.pid, message.exitCode], [0n, 0n, 0, 0]);
});

test('the Linux part of a container', () => {
  const seccompProfile = { type: 'Localhost', localhostRef: '/profiles/web.json' } as const;
  const { linux } = containerOf({ record: { ...record, seccompProfile }, spec });
  assert.ok(linux);
  assert.deepEqual(plain(linux.namespaces), [
    { type: 'mount', path: '' },
    { type: 'network', path: '/run/netns/web' },
  ]);
  assert.deepEqual(plain(linux.devices), [
    {
      path: '/dev/fuse',
      type: 'c',
      major: 10n,
      minor: 229n,
      fileMode: { value: 0o666 },
      uid: { value: 0 },
      gid: { value: 0 },
    },
  ]);
  assert.deepEqual(plain(linux.resources), {
    memory: { limit: { value: 9_007_199_254_740_993n }, swap: { value: 9_007_199_254_740_993n } },
    cpu: {
      shares: { value: 102n },
      quota: { value: 50_000n },
      period: { value: 100_000n },
      cpus: '0-3',
      mems: '0',
    },
    hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
    unified: { 'memory.high': '1000000' },
    devices: [{ allow: false, type: '', access: 'rwm' }],
    pids: { limit: 100n },
  });
  assert.equal(linux.oomScoreAdj?.value, 985n);
  assert.equal(linux.cgroupsPath, '/kubepods/pod0/web');
  assert.deepEqual(plain(linux.seccompProfile), { profileType: 2, localhostRef: '/profiles/web.json' });
  assert.equal(linux.seccompPolicy?.defaultErrno?.value, 38);
  assert.deepEqual(plain(linux.seccompPolicy?.syscalls), [
    {
      names: ['clone'],
      action: 'SCMP_ACT_ALLOW',
      args: [{ index: 0, value: 2n ** 64n - 1n, valueTwo: 0n, op: 'SCMP_CMP_MASKED_EQ' }],
    },
  ]);
  assert.deepEqual(plain(linux.netDevices), { eth1: { name: 'net0' } });
  assert.deepEqual(plain(linux.rdt), { closId: { value: 'gold' }, remove: false });
  assert.equal(linux.ioPriority, undefined);
  assert.equal(linux.scheduler, undefined);
});

test('what only plugins set is told to the next ones', () => {
  const adjusted = {
    ...spec,
    process: {
      ...spec.process,
      ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 4 },
      scheduler: {
        policy: 'SCHED_DEADLINE',
        flags: ['SCHED_FLAG_RECLAIM'],
        runtime: 1_000_000,
        deadline: 2n ** 62n,
        period: 2n ** 62n,
      },
    },
    linux: { ...spec.linux, sysctl: { 'net.ipv4.ip_forward': '1' } },
  };
  const { linux } = containerOf({ record, spec: adjusted });
  assert.deepEqual(plain(linux?.ioPriority), { class: 2, priority: 4 });
  assert.deepEqual(plain(linux?.scheduler), {
    policy: 7,
    nice: 0,
    priority: 0,
    flags: [1],
    runtime: 1_000_000n,
    deadline: 2n ** 62n,
    period: 2n ** 62n,
  });
  assert.deepEqual(plain(linux?.sysctl), { 'net.ipv4.ip_forward': '1' });
});

test("the runtime's default profile is told from none", () => {
  const seccompProfile = { type: 'RuntimeDefault', localhostRef: '' } as const;
  const { linux } = containerOf({ record: { ...record, seccompProfile }, spec });
  assert.deepEqual(plain(linux?.seccompProfile), { profileType: 0, localhostRef: '' });
  assert.equal(containerOf({ record, spec }).linux?.seccompProfile, undefined);
});

test('states, times and exits', () => {
  const states = (['creating', 'created', 'starting', 'running', 'exited'] as const).map(
    (state) => containerOf({ record: { ...record, state }, spec }).state,
  );
  assert.deepEqual(states, [0, 1, 1, 3, 4]);
  const message = containerOf({
    record: {
      ...record,
      state: 'exited',
      startedAt: 1_700_000_001_000_000_001n,
      exit: { code: 137, reason: 'OOMKilled', message: 'killed', finishedAt: 1_700_000_002_000_000_003n },
    },
    spec,
  });
  assert.equal(message.startedAt, 1_700_000_001_000_000_001n);
  assert.equal(message.finishedAt, 1_700_000_002_000_000_003n);
  assert.deepEqual(
    [message.exitCode, message.statusReason, message.statusMessage],
    [137, 'OOMKilled', 'killed'],
  );
});

test('after a reboot the specification is gone: what the record has', () => {
  const image = { ...record.image, reference: record.image.id };
  const message = containerOf({ record: { ...record, image }, spec: undefined });
  assert.deepEqual(message.args, []);
  assert.equal(message.image?.digest, '');
  assert.equal(message.linux?.cgroupsPath, '/kubepods/pod0/web');
  assert.equal(message.linux?.resources?.cpu?.shares?.value, 102n);
  assert.deepEqual(message.user?.additionalGids, [1000]);
});

test('a specification that was read from its file has numbers', () => {
  const read = JSON.parse('{"memory":{"limit":4096},"cpu":{"shares":2},"pids":{"limit":-1}}');
  const { linux } = containerOf({
    record: { ...record, resources: noResources },
    spec: { ...spec, linux: { ...spec.linux, resources: read } },
  });
  assert.equal(linux?.resources?.memory?.limit?.value, 4096n);
  assert.equal(linux?.resources?.cpu?.shares?.value, 2n);
  assert.equal(linux?.resources?.pids?.limit, -1n);
});

test('what the kubelet wants: what it does not set is absent', () => {
  assert.equal(resourcesMessage(noResources), undefined);
  const message = received(
    'LinuxResources',
    resourcesMessage({
      ...noResources,
      cpuQuota: -1n,
      memorySwapLimitBytes: 2n ** 62n + 1n,
      cpusetCpus: '1',
      hugepageLimits: [{ pageSize: '1GB', limit: 2n ** 64n - 1n }],
      unified: { 'cpu.idle': '1' },
    }) ?? {},
  );
  assert.deepEqual(plain(message), {
    memory: { swap: { value: 2n ** 62n + 1n } },
    cpu: { quota: { value: -1n }, cpus: '1', mems: '' },
    hugepageLimits: [{ pageSize: '1GB', limit: 2n ** 64n - 1n }],
    unified: { 'cpu.idle': '1' },
    devices: [],
  });
});

test('limits in force: what updates have changed since the creation, over the specification', () => {
  const made = { memory: { limit: 4096, kernelTCP: 5, disableOOMKiller: true }, pids: { limit: 7 } };
  const updated = {
    ...record,
    resources: { ...noResources, memoryLimitBytes: 2n ** 53n + 1n, unified: { 'memory.low': '1' } },
    otherLimits: { pids: -1n, swappiness: 0n, realtimeRuntime: 9n, blockioClass: 'slow', rdtClass: '' },
  };
  const linux = { ...spec.linux, resources: { ...spec.linux.resources, ...made } };
  const { resources } =
    containerOf({ record: updated, spec: { ...spec, linux } as unknown as typeof spec }).linux ?? {};
  assert.deepEqual(plain(resources?.memory), {
    limit: { value: 2n ** 53n + 1n },
    kernelTcp: { value: 5n },
    swappiness: { value: 0n },
    disableOomKiller: { value: true },
  });
  assert.deepEqual([resources?.cpu?.shares?.value, resources?.cpu?.realtimeRuntime?.value], [102n, 9n]);
  assert.deepEqual(plain(resources?.unified), { 'memory.high': '1000000', 'memory.low': '1' });
  assert.deepEqual(
    [resources?.pids?.limit, resources?.blockioClass?.value, resources?.rdtClass?.value],
    [-1n, 'slow', ''],
  );
  // Rules for devices are the specification's.
  assert.equal(resources?.devices.length, 1);
});
