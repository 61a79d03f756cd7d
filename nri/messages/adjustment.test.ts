import assert from 'node:assert/strict';
import test from 'node:test';
import type { nri } from '#api/nri/index.ts';
import type { ContainerAdjustment } from '#core/model/adjustment.ts';
import { received, record, spec } from '#test/fixtures/nri-messages.ts';
import { adjusted, adjustmentMessage, containerMessage, withChanges } from './index.ts';

const pristine = containerMessage({ record: { ...record, cdiDevices: ['v.com/gpu=0'] }, spec });
const view = (adjustment: ContainerAdjustment) => received('Container', adjusted(pristine, adjustment));
const copy = <T>(message: T): T => structuredClone(message);
/** Maps of received messages have no prototype. */
const map = <T>(entries: Readonly<Record<string, T>> | undefined) => Object.entries(entries ?? {});

test('an empty adjustment changes nothing', () => {
  assert.deepEqual(view({}), received('Container', pristine));
});

test('annotations, sysctls and interfaces: set, replaced, taken away', () => {
  const { annotations, linux } = view({
    annotations: { set: { note: 'new', more: 'x' }, removed: ['io.kubernetes.cri.container-name'] },
    sysctl: { set: { 'net.core.somaxconn': '1024' }, removed: ['net.ipv4.ip_forward'] },
    netDevices: { set: { eth2: { name: 'net1' } }, removed: ['eth1'] },
  });
  assert.deepEqual(map(annotations), [
    ['note', 'new'],
    ['more', 'x'],
  ]);
  assert.deepEqual(map(linux?.sysctl), [['net.core.somaxconn', '1024']]);
  assert.deepEqual(map(linux?.netDevices), [['eth2', { name: 'net1' }]]);
});

test('variables: a changed one keeps its place, a new one comes last', () => {
  const { env } = view({ env: { set: { PATH: '/usr/bin=x', NEW: '1' }, removed: ['MODE'] } });
  assert.deepEqual(env, ['PATH=/usr/bin=x', 'EMPTY=', 'NEW=1']);
});

test('a removed variable goes wherever it is, one that was never there is no error', () => {
  const message = adjusted(
    { ...pristine, env: ['A=1', 'B=2', 'A=3'] },
    { env: { set: {}, removed: ['A', 'C'] } },
  );
  assert.deepEqual(message.env, ['B=2']);
});

test('mounts and devices: what is replaced comes with the new ones', () => {
  const { mounts, linux } = view({
    mounts: {
      set: [
        { destination: '/data', type: 'tmpfs', source: 'tmpfs', options: ['ro'] },
        { destination: '/new', type: 'bind', source: '/srv', options: ['bind'] },
      ],
      removed: ['/proc'],
    },
    devices: { set: [{ path: '/dev/kvm', type: 'c', major: 10, minor: 232 }], removed: ['/dev/fuse'] },
  });
  assert.deepEqual(mounts, [
    { destination: '/data', type: 'tmpfs', source: 'tmpfs', options: ['ro'] },
    { destination: '/new', type: 'bind', source: '/srv', options: ['bind'] },
  ]);
  assert.deepEqual(
    linux?.devices.map(({ path, minor, fileMode }) => [path, minor, fileMode]),
    [['/dev/kvm', 232n, undefined]],
  );
});

test('hooks, CDI devices and device rules are added', () => {
  const { hooks, CDIDevices, linux } = view({
    hooks: {
      poststop: [{ path: '/more', args: [], env: ['A=1'], timeout: 9 }],
      prestart: [{ path: '/p', args: [], env: [] }],
    },
    cdiDevices: ['v.com/gpu=1'],
    deviceRules: [{ allow: true, type: 'c', major: 10, access: 'rw' }],
  });
  assert.deepEqual(
    hooks?.poststop.map(({ path, timeout }) => [path, timeout?.value]),
    [
      ['/usr/bin/hook', 5n],
      ['/more', 9n],
    ],
  );
  assert.equal(hooks?.prestart[0]?.path, '/p');
  assert.deepEqual(
    CDIDevices.map(({ name }) => name),
    ['v.com/gpu=0', 'v.com/gpu=1'],
  );
  assert.deepEqual(
    linux?.resources?.devices.map(({ allow, type, major, minor }) => [
      allow,
      type,
      major?.value,
      minor?.value,
    ]),
    [
      [false, '', undefined, undefined],
      [true, 'c', 10n, undefined],
    ],
  );
});

test('one value in the place of another', () => {
  const { args, rlimits, linux } = view({
    args: ['/bin/other'],
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1n, hard: 2n }],
    oomScoreAdj: 0,
    cgroupsPath: '/other',
    ioPriority: { class: 'IOPRIO_CLASS_IDLE', priority: 0 },
    seccompPolicy: { defaultAction: 'SCMP_ACT_ALLOW', architectures: [], flags: [], syscalls: [] },
    namespaces: { set: { network: { path: '/ns/other' }, uts: { path: '' } }, removed: [] },
    scheduler: {
      policy: 'SCHED_FIFO',
      nice: 0,
      priority: 5,
      flags: ['SCHED_FLAG_RESET_ON_FORK'],
      runtime: 0n,
      deadline: 0n,
      period: 0n,
    },
    rdt: { schemata: ['L3:0=f'], remove: false },
  });
  assert.deepEqual(args, ['/bin/other']);
  assert.deepEqual(rlimits, [{ type: 'RLIMIT_NOFILE', soft: 1n, hard: 2n }]);
  assert.equal(linux?.oomScoreAdj?.value, 0n);
  assert.equal(linux?.cgroupsPath, '/other');
  assert.equal(linux?.ioPriority?.class, 3);
  assert.equal(linux?.seccompPolicy?.defaultAction, 'SCMP_ACT_ALLOW');
  assert.equal(linux?.seccompPolicy?.syscalls.length, 0);
  assert.deepEqual(linux?.namespaces, [
    { type: 'mount', path: '' },
    { type: 'network', path: '/ns/other' },
    { type: 'uts', path: '' },
  ]);
  assert.deepEqual(
    [linux?.scheduler?.policy, linux?.scheduler?.priority, linux?.scheduler?.flags],
    [2, 5, [0]],
  );
  // Parts of rdt that no plugin changes stay.
  assert.equal(linux?.rdt?.closId?.value, 'gold');
  assert.deepEqual(linux?.rdt?.schemata?.value, ['L3:0=f']);
});

test('what is unset is gone', () => {
  const process = {
    ...spec.process,
    ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 1 },
    scheduler: { policy: 'SCHED_RR' },
  };
  const before = containerMessage({ record, spec: { ...spec, process } });
  assert.ok(before.linux?.ioPriority && before.linux.scheduler && before.linux.rdt);
  const { linux } = adjusted(before, {
    ioPriority: { class: 'IOPRIO_CLASS_NONE', priority: 0 },
    scheduler: {
      policy: 'SCHED_NONE',
      nice: 0,
      priority: 0,
      flags: [],
      runtime: 0n,
      deadline: 0n,
      period: 0n,
    },
    rdt: { remove: true },
  });
  assert.deepEqual([linux?.ioPriority, linux?.scheduler, linux?.rdt], [undefined, undefined, undefined]);
});

test('limits: what is not changed stays, page sizes and files by their names', () => {
  const { linux } = view({
    resources: {
      memory: { limit: 2n ** 62n + 1n, disableOomKiller: false },
      cpu: { quota: -1n, mems: '1' },
      hugepageLimits: { '2MB': 5n, '1GB': 6n },
      unified: { 'memory.low': '7' },
      blockioClass: 'slow',
      rdtClass: '',
      pids: -1n,
    },
  });
  const { memory, cpu, hugepageLimits, unified, blockioClass, rdtClass, pids } = linux?.resources ?? {};
  assert.deepEqual([memory?.limit?.value, memory?.swap?.value], [2n ** 62n + 1n, 2n ** 53n + 1n]);
  assert.equal(memory?.disableOomKiller?.value, false);
  assert.deepEqual([cpu?.shares?.value, cpu?.quota?.value, cpu?.cpus, cpu?.mems], [102n, -1n, '0-3', '1']);
  assert.deepEqual(hugepageLimits, [
    { pageSize: '2MB', limit: 5n },
    { pageSize: '1GB', limit: 6n },
  ]);
  assert.deepEqual(map(unified), [
    ['memory.high', '1000000'],
    ['memory.low', '7'],
  ]);
  assert.deepEqual([blockioClass?.value, rdtClass?.value, pids?.limit], ['slow', '', -1n]);
});

test('changes of what has no limits at all', () => {
  assert.equal(withChanges(undefined, {}), undefined);
  assert.deepEqual(withChanges(undefined, { cpu: { shares: 0n } }), { cpu: { shares: { value: 0n } } });
});

test('as a message: what is taken away has the marker that plugins use', () => {
  const message = received(
    'ContainerAdjustment',
    adjustmentMessage({
      annotations: { set: { a: '1' }, removed: ['b'] },
      env: { set: { A: '1' }, removed: ['B'] },
      mounts: { set: [], removed: ['/m'] },
      devices: { set: [], removed: ['/dev/d'] },
      namespaces: { set: {}, removed: ['uts'] },
      sysctl: { set: {}, removed: ['net.a'] },
      netDevices: { set: {}, removed: ['eth0'] },
      rdt: { remove: true },
      memoryPolicy: { mode: 'MPOL_LOCAL', nodes: '', flags: [] },
    }),
  );
  assert.deepEqual(map(message.annotations), [
    ['-b', ''],
    ['a', '1'],
  ]);
  assert.deepEqual(message.env, [
    { key: '-B', value: '' },
    { key: 'A', value: '1' },
  ]);
  const { linux } = message;
  const names: readonly unknown[] = [
    message.mounts[0]?.destination,
    linux?.devices[0]?.path,
    linux?.namespaces[0]?.type,
    ...Object.keys(linux?.sysctl ?? {}),
    ...Object.keys(linux?.netDevices ?? {}),
  ];
  assert.deepEqual(names, ['-/m', '-/dev/d', '-uts', '-net.a', '-eth0']);
  assert.equal(linux?.rdt?.remove, true);
  assert.equal(linux?.memoryPolicy?.mode, 4);
});

test('the container that is given stays as it is', () => {
  const before: nri.ContainerInit = copy(pristine);
  adjusted(pristine, {
    env: { set: { PATH: 'x' }, removed: ['MODE'] },
    mounts: { set: [], removed: ['/proc'] },
    hooks: { poststop: [{ path: '/more', args: [], env: [] }] },
  });
  assert.deepEqual(pristine, before);
});
