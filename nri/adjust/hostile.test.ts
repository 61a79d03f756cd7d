/** What a plugin may send and no container may get: refused with plugin, field and remedy, and nothing of the answer is taken. */
import assert from 'node:assert/strict';
import test from 'node:test';
import type { nri } from '#api/nri/index.ts';
import { hasCode } from '#core/errors.ts';
import { answer, CONTAINER_ID, otherId, record, spec } from '#test/fixtures/nri-messages.ts';
import { containerMessage } from '../messages/index.ts';
import { CreateCollector } from './index.ts';

type Sent = nri.ContainerAdjustmentInit;
/** What is sent, and how the error names it. */
type Case = readonly [sent: Sent, field: string];

const linux = (part: nri.LinuxContainerAdjustmentInit): Sent => ({ linux: part });
const resources = (part: nri.LinuxResourcesInit): Sent => linux({ resources: part });
const memory = (part: nri.LinuxMemoryInit): Sent => resources({ memory: part });
const cpu = (part: nri.LinuxCPUInit): Sent => resources({ cpu: part });
const mount = (part: nri.MountInit): Sent => ({
  mounts: [{ destination: '/mnt', type: 'tmpfs', source: 'tmpfs', ...part }],
});
const device = (part: nri.LinuxDeviceInit): Sent =>
  linux({ devices: [{ path: '/dev/x', type: 'c', major: 10n, minor: 1n, ...part }] });
const hook = (part: nri.HookInit): Sent => ({ hooks: { prestart: [{ path: '/hook', ...part }] } });
const seccomp = (part: nri.LinuxSeccompInit): Sent =>
  linux({ seccompPolicy: { defaultAction: 'SCMP_ACT_ERRNO', ...part } });
const syscall = (part: nri.LinuxSyscallInit): Sent =>
  seccomp({ syscalls: [{ names: ['read'], action: 'SCMP_ACT_ALLOW', ...part }] });
const scheduler = (part: nri.LinuxSchedulerInit): Sent => linux({ scheduler: part });

const LONG = 'x'.repeat(200_000);
const PATHS = [
  '',
  'relative',
  '../up',
  '/a/../../etc',
  '/..',
  '/a\0b',
  `/${'x'.repeat(4096)}`,
  '/',
  '//',
  '/.',
];
const list = (count: number): number[] => Array.from({ length: count }, (_, at) => at);

const cases: Readonly<Record<string, readonly Case[]>> = {
  annotations: [
    [{ annotations: { '': 'x' } }, 'annotations'],
    [{ annotations: { '-': '' } }, 'annotations'],
    [{ annotations: { 'a\0': 'x' } }, 'annotations'],
    [{ annotations: { ['k'.repeat(513)]: 'x' } }, 'annotations'],
    [{ annotations: { note: 'x'.repeat(256 * 1024 + 1) } }, 'annotations note'],
    [{ annotations: { 'run.oci.hooks.stdout': '/x' } }, 'annotations'],
    [{ annotations: { '-run.oci.systemd.subgroup': '' } }, 'annotations'],
    [
      { annotations: Object.fromEntries(list(5000).map((at) => [`k${at}`, ''])) },
      'annotations: 5001 entries, more than 4096',
    ],
    [
      { annotations: Object.fromEntries(list(8).map((at) => [`k${at}`, LONG])) },
      'annotations k5: the answer has more than 1048576 bytes of text',
    ],
  ],
  env: [
    [{ env: [{ key: '', value: 'x' }] }, 'env'],
    [{ env: [{ key: '-', value: '' }] }, 'env'],
    [{ env: [{ key: 'A=B', value: 'x' }] }, 'env'],
    [{ env: [{ key: 'A\0', value: 'x' }] }, 'env'],
    [{ env: [{ key: 'A', value: 'x\0' }] }, 'env A'],
    [{ env: [{ key: 'A', value: 'x'.repeat(131_070) }] }, 'env A: 131072 bytes, more than 131071'],
    [{ env: [{ key: 'A' }, { key: 'A' }] }, 'env A: it is there twice'],
    [{ env: [{ key: 'A\nB' }, { key: 'A\nB' }] }, 'env A?B: it is there twice'],
    [{ env: [{ key: 'A'.repeat(4096) }, { key: 'A'.repeat(4096) }] }, `env ${'A'.repeat(196)}…: it is there`],
    [{ env: [{ key: '-A' }, { key: '-A' }] }, 'env A: it is there twice'],
    [{ env: list(4097).map((at) => ({ key: `A${at}` })) }, 'env: 4098 entries, more than 4096'],
  ],
  args: [
    [{ args: [''] }, 'args: they name no program'],
    [{ args: ['', ''] }, 'args: they name no program'],
    [{ args: ['/bin/x', 'a\0'] }, 'args'],
    [{ args: ['/bin/x', LONG] }, 'args: 200000 bytes'],
  ],
  mounts: [
    ...PATHS.map((destination): Case => [mount({ destination }), 'mounts']),
    [{ mounts: [{ destination: '-/a/../b' }] }, 'mounts'],
    [mount({ type: 'bind', source: 'relative' }), 'mounts /mnt source'],
    [mount({ type: 'bind', source: '/a/../b' }), 'mounts /mnt source'],
    [mount({ type: '', source: '', options: ['rbind'] }), 'mounts /mnt source'],
    [mount({ type: 'a b' }), 'mounts /mnt type'],
    [mount({ source: 'x\0' }), 'mounts /mnt source'],
    [mount({ options: ['x\0'] }), 'mounts /mnt options'],
    [mount({ options: list(129).map(String) }), 'mounts /mnt options: 129 entries'],
    [
      {
        mounts: [
          { destination: '/a/', type: 'tmpfs' },
          { destination: '/a', type: 'tmpfs' },
        ],
      },
      'mounts /a: it is there twice',
    ],
  ],
  hooks: [
    ...PATHS.map((path): Case => [hook({ path }), 'hooks prestart']),
    [hook({ timeout: { value: 0n } }), 'hooks prestart /hook timeout'],
    [hook({ timeout: { value: -1n } }), 'hooks prestart /hook timeout'],
    [hook({ timeout: { value: 2n ** 62n } }), 'hooks prestart /hook timeout'],
    [hook({ env: ['NOTHING'] }), 'hooks prestart /hook env'],
    [hook({ env: ['=x'] }), 'hooks prestart /hook env'],
    [hook({ args: ['a\0'] }), 'hooks prestart /hook args'],
    [
      { hooks: { startContainer: list(257).map(() => ({ path: '/h' })) } },
      'hooks startContainer: 257 entries',
    ],
  ],
  rlimits: [
    [{ rlimits: [{ type: 'RLIMIT_NONE', soft: 1n, hard: 1n }] }, 'rlimits'],
    [{ rlimits: [{ type: 'nofile', soft: 1n, hard: 1n }] }, 'rlimits'],
    [{ rlimits: [{ type: '-RLIMIT_NOFILE' }] }, 'rlimits'],
    [{ rlimits: [{ type: 'RLIMIT_NOFILE', soft: 2n, hard: 1n }] }, 'rlimits RLIMIT_NOFILE soft'],
    [
      {
        rlimits: [
          { type: 'RLIMIT_CPU', soft: 1n, hard: 1n },
          { type: 'RLIMIT_CPU', soft: 1n, hard: 1n },
        ],
      },
      'rlimits RLIMIT_CPU: it is there twice',
    ],
  ],
  devices: [
    ...PATHS.map((path): Case => [device({ path }), 'devices']),
    [device({ type: '' }), 'devices /dev/x type'],
    [device({ type: 'a' }), 'devices /dev/x type'],
    [device({ major: -1n }), 'devices /dev/x major'],
    [device({ major: 4096n }), 'devices /dev/x major'],
    [device({ minor: 2n ** 20n }), 'devices /dev/x minor'],
    [device({ fileMode: { value: 0o4777 } }), 'devices /dev/x file_mode'],
    [device({ uid: { value: 4_294_967_295 } }), 'devices /dev/x uid'],
    [device({ gid: { value: 4_294_967_295 } }), 'devices /dev/x gid'],
  ],
  netDevices: ['', '-', '.', '..', 'a/b', 'a b', 'a:b', 'eth%d', 'sixteen-letters-', 'a\0'].flatMap(
    (name): Case[] => [
      [linux({ netDevices: { [name]: { name: 'eth0' } } }), 'netDevices'],
      ...(name === '' || name === '-'
        ? []
        : ([[linux({ netDevices: { eth1: { name } } }), 'netDevices eth1']] as Case[])),
    ],
  ),
  cdiDevices: [
    ...['', 'gpu', 'vendor.com/gpu', 'vendor.com/gpu=', '=0', '/gpu=0', 'vendor.com/gpu=0 ', '../a=b'].map(
      (name): Case => [{ CDIDevices: [{ name }] }, 'cdiDevices'],
    ),
    [
      { CDIDevices: [{ name: 'v.com/g=0' }, { name: 'v.com/g=0' }] },
      'cdiDevices v.com/g=0: it is there twice',
    ],
  ],
  memory: [
    [memory({ limit: { value: -2n } }), 'memory.limit'],
    [memory({ limit: { value: -(2n ** 63n) } }), 'memory.limit'],
    [memory({ reservation: { value: -2n } }), 'memory.reservation'],
    [memory({ swap: { value: -2n } }), 'memory.swap'],
    [memory({ kernel: { value: -2n } }), 'memory.kernel'],
    [memory({ kernelTcp: { value: -2n } }), 'memory.kernelTcp'],
    [memory({ swappiness: { value: 201n } }), 'memory.swappiness'],
  ],
  cpu: [
    [cpu({ shares: { value: 2n ** 63n } }), 'cpu.shares'],
    [cpu({ quota: { value: -2n } }), 'cpu.quota'],
    [cpu({ quota: { value: 999n } }), 'cpu.quota'],
    [cpu({ period: { value: 999n } }), 'cpu.period'],
    [cpu({ period: { value: 1_000_001n } }), 'cpu.period'],
    [cpu({ realtimeRuntime: { value: -2n } }), 'cpu.realtimeRuntime'],
    [cpu({ realtimePeriod: { value: 2n ** 63n } }), 'cpu.realtimePeriod'],
    ...['a', '0-', '-1', '0,,1', '0 1', '0-3/2', '1\n', '0;1'].flatMap((text): Case[] => [
      [cpu({ cpus: text }), 'cpu.cpus'],
      [cpu({ mems: text }), 'cpu.mems'],
    ]),
    [cpu({ cpus: '1,'.repeat(2050) }), 'cpu.cpus'],
  ],
  'other resources': [
    ...['', '2M', 'MB', '0MB', '-2MB', '2MB/x', '../2MB'].map(
      (pageSize): Case => [resources({ hugepageLimits: [{ pageSize, limit: 0n }] }), 'hugepageLimits'],
    ),
    [resources({ hugepageLimits: [{ pageSize: '2MB', limit: 2n ** 63n }] }), 'hugepageLimits 2MB'],
    [
      resources({
        hugepageLimits: [
          { pageSize: '2MB', limit: 0n },
          { pageSize: '2MB', limit: 1n },
        ],
      }),
      'hugepageLimits 2MB: it is there twice',
    ],
    ...[
      '',
      'memory',
      '../memory.max',
      'memory/max',
      'cgroup.kill',
      'cgroup.procs',
      '-memory.high',
      'a.b\0',
    ].map((file): Case => [resources({ unified: { [file]: '1' } }), 'unified']),
    [resources({ unified: { 'memory.high': '1\n2' } }), 'unified memory.high'],
    [resources({ unified: { 'memory.high': 'x'.repeat(257) } }), 'unified memory.high'],
    [resources({ pids: { limit: -2n } }), 'pids'],
    [resources({ pids: { limit: 4_194_305n } }), 'pids'],
    [resources({ blockioClass: { value: '../x' } }), 'blockioClass'],
    [resources({ rdtClass: { value: 'a/b' } }), 'rdtClass'],
    [resources({ devices: [{ allow: true, type: 'x', access: 'r' }] }), 'deviceRules'],
    [resources({ devices: [{ allow: true, type: 'c', access: 'rwx' }] }), 'deviceRules'],
    [resources({ devices: [{ allow: true, type: 'c', major: { value: -2n } }] }), 'deviceRules'],
  ],
  cgroupsPath: ['relative', 'a/b:c:d', 'a:b', 'a:b:', 'slice:x:../y', '/a/../../b', '/', '/a\0'].map(
    (cgroupsPath): Case => [linux({ cgroupsPath }), 'cgroupsPath'],
  ),
  'scores and priorities': [
    [linux({ oomScoreAdj: { value: 1001n } }), 'oomScoreAdj'],
    [linux({ oomScoreAdj: { value: -1001n } }), 'oomScoreAdj'],
    [linux({ oomScoreAdj: { value: 2n ** 62n } }), 'oomScoreAdj'],
    [linux({ ioPriority: { class: 4 } }), 'ioPriority.class'],
    [linux({ ioPriority: { class: -1 } }), 'ioPriority.class'],
    [linux({ ioPriority: { class: 2, priority: 8 } }), 'ioPriority.priority'],
    [linux({ ioPriority: { class: 2, priority: -1 } }), 'ioPriority.priority'],
    [scheduler({ policy: 8 }), 'scheduler.policy'],
    [scheduler({ policy: 5 }), 'scheduler.policy'],
    [scheduler({ policy: 1, nice: 20 }), 'scheduler.nice'],
    [scheduler({ policy: 1, nice: -21 }), 'scheduler.nice'],
    [scheduler({ policy: 2, priority: 0 }), 'scheduler.priority'],
    [scheduler({ policy: 3, priority: 100 }), 'scheduler.priority'],
    [scheduler({ policy: 1, priority: 1 }), 'scheduler.priority'],
    [scheduler({ policy: 2, priority: 1, nice: 1 }), 'scheduler.nice'],
    [scheduler({ policy: 1, runtime: 5000n }), 'scheduler.runtime'],
    [scheduler({ policy: 1, period: 5000n }), 'scheduler.period'],
    [scheduler({ policy: 7, runtime: 5000n, deadline: 4000n }), 'scheduler.runtime'],
    [scheduler({ policy: 7, runtime: 5000n, deadline: 6000n, period: 5500n }), 'scheduler.period'],
    [scheduler({ policy: 7, runtime: 5000n, deadline: 2n ** 63n }), 'scheduler.deadline'],
    [scheduler({ policy: 1, flags: [7] }), 'scheduler.flags'],
  ],
  seccomp: [
    [seccomp({ defaultAction: '' }), 'seccompPolicy default_action'],
    [seccomp({ defaultAction: 'ALLOW' }), 'seccompPolicy default_action'],
    [seccomp({ defaultErrno: { value: 4096 } }), 'seccompPolicy default_errno'],
    [seccomp({ architectures: ['x86'] }), 'seccompPolicy architectures'],
    [seccomp({ flags: ['SECCOMP_FILTER_FLAG_NEW_LISTENER'] }), 'seccompPolicy flags'],
    [seccomp({ listenerPath: 'run/agent.sock' }), 'seccompPolicy listener_path'],
    [seccomp({ listenerPath: '/run/../agent.sock' }), 'seccompPolicy listener_path'],
    [seccomp({ listenerMetadata: 'a\0' }), 'seccompPolicy listener_metadata'],
    [syscall({ names: [] }), 'seccompPolicy syscalls: a rule names no system call'],
    [syscall({ names: ['rm -rf'] }), 'seccompPolicy syscalls'],
    [syscall({ names: ['x'.repeat(65)] }), 'seccompPolicy syscalls'],
    [syscall({ action: 'SCMP_ACT_ALLOW_ALL' }), 'seccompPolicy syscalls action'],
    [syscall({ errnoRet: { value: 4096 } }), 'seccompPolicy syscalls errno_ret'],
    [syscall({ args: [{ index: 6, op: 'SCMP_CMP_EQ' }] }), 'seccompPolicy syscalls args index'],
    [syscall({ args: [{ index: 0, op: 'EQ' }] }), 'seccompPolicy syscalls args op'],
    [seccomp({ syscalls: list(4097).map(() => ({ names: ['a'] })) }), 'seccompPolicy syscalls: 4097 entries'],
  ],
  namespaces: [
    [linux({ namespaces: [{ type: '' }] }), 'namespaces'],
    [linux({ namespaces: [{ type: 'net' }] }), 'namespaces'],
    [linux({ namespaces: [{ type: '-net' }] }), 'namespaces'],
    [linux({ namespaces: [{ type: '--network' }] }), 'namespaces'],
    [linux({ namespaces: [{ type: '-mount' }] }), 'namespaces mount'],
    [linux({ namespaces: [{ type: 'network', path: 'ns' }] }), 'namespaces network'],
    [linux({ namespaces: [{ type: 'network', path: '/proc/../x' }] }), 'namespaces network'],
    [linux({ namespaces: [{ type: 'uts' }, { type: 'uts' }] }), 'namespaces uts: it is there twice'],
  ],
  sysctl: [
    ...['', '-', 'kernel', 'net..x', 'net.', '.net', 'net/../kernel', '../kernel', 'net. x', 'net.a\0'].map(
      (name): Case => [linux({ sysctl: { [name]: '1' } }), 'sysctl'],
    ),
    [linux({ sysctl: { 'net.x': '1\n2' } }), 'sysctl net.x'],
    [linux({ sysctl: { 'net.x': 'x'.repeat(4097) } }), 'sysctl net.x'],
    [linux({ sysctl: { 'net.x': '1', 'net/x': '2' } }), 'sysctl net.x: it is there twice'],
  ],
  rdt: [
    [linux({ rdt: { closId: { value: 'a/b' } } }), 'rdt.closID'],
    [linux({ rdt: { closId: { value: '..' } } }), 'rdt.closID'],
    [linux({ rdt: { schemata: { value: ['a\nb'] } } }), 'rdt.schemata'],
    [linux({ rdt: { schemata: { value: [''] } } }), 'rdt.schemata'],
    [linux({ rdt: { schemata: { value: list(65).map(String) } } }), 'rdt.schemata: 65 entries'],
  ],
  memoryPolicy: [
    [linux({ memoryPolicy: { mode: 7 } }), 'memoryPolicy.mode'],
    [linux({ memoryPolicy: { mode: 0, nodes: '0' } }), 'memoryPolicy.nodes'],
    [linux({ memoryPolicy: { mode: 2 } }), 'memoryPolicy.nodes'],
    [linux({ memoryPolicy: { mode: 2, nodes: 'all' } }), 'memoryPolicy.nodes'],
    [linux({ memoryPolicy: { mode: 2, nodes: '0', flags: [3] } }), 'memoryPolicy.flags'],
    [linux({ memoryPolicy: { mode: 2, nodes: '0', flags: [0, 1] } }), 'memoryPolicy.flags'],
  ],
};

/** With something that would be taken in front and behind. */
const hidden = (sent: Sent): Sent => ({
  ...sent,
  annotations: { good: 'x', ...sent.annotations },
  env: [{ key: 'GOOD', value: 'x' }, ...(sent.env ?? [])],
  linux: { memoryPolicy: { mode: 4 }, ...sent.linux },
});

function refused(response: nri.CreateContainerResponse, field: string): void {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  collector.add('10-good', answer({ env: [{ key: 'FIRST', value: '1' }] }, { update: [], evict: [] }));
  const before = [collector.outcome(), collector.container];
  assert.throws(
    () => collector.add('20-bad', response),
    (error) => {
      assert.ok(hasCode(error, 'InvalidArgument'), String(error));
      assert.ok(error.message.startsWith(`NRI plugin 20-bad: ${field}`), error.message);
      assert.match(error.hint, /^correct the plugin: ./);
      // A plugin's text fills neither logs nor statuses.
      assert.ok(error.message.length < 1024, error.message);
      return true;
    },
  );
  assert.deepEqual([collector.outcome(), collector.container], before);
}

for (const [group, list] of Object.entries(cases))
  test(`${group}: nothing impossible is taken`, () => {
    for (const [sent, field] of list) refused(answer(hidden(sent)), field);
  });

test('updates and evictions: ids, the container itself, counts', () => {
  const update = (containerId: string, part: nri.LinuxResourcesInit = {}): nri.ContainerUpdateInit => ({
    containerId,
    linux: { resources: part },
  });
  const sent = (update: nri.ContainerUpdateInit[], evict: nri.ContainerEvictionInit[] = []) =>
    answer({ env: [{ key: 'A' }] }, { update, evict });
  for (const id of ['', 'web', '../x', CONTAINER_ID.slice(1), CONTAINER_ID.toUpperCase()]) {
    refused(sent([update(id)]), 'update: ');
    refused(sent([], [{ containerId: id, reason: 'x' }]), 'evict: ');
  }
  refused(sent([update(CONTAINER_ID)]), `update: container ${CONTAINER_ID} is being created`);
  refused(sent([], [{ containerId: CONTAINER_ID }]), `evict: container ${CONTAINER_ID} is being created`);
  const other = otherId(1);
  refused(
    sent([update(other, { memory: { limit: { value: -2n } } })]),
    `memory.limit of container ${other}: -2 is not between`,
  );
  refused(sent([update(other, { cpu: { cpus: 'x' } })]), `cpu.cpus of container ${other}: `);
  refused(sent(list(4097).map((at) => update(otherId(at)))), 'update: 4097 entries');
  refused(
    sent(
      [],
      list(4097).map((at) => ({ containerId: otherId(at) })),
    ),
    'evict: 4097 entries',
  );
});

test('all answers together are bounded, as the record that they become', () => {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  const big = (name: string) =>
    answer({ annotations: Object.fromEntries(list(4).map((at) => [`${name}${at}`, 'x'.repeat(250_000)])) });
  for (const name of ['a', 'b', 'c', 'd']) collector.add(`10-${name}`, big(name));
  const before = collector.outcome();
  assert.throws(
    () => collector.add('20-e', big('e')),
    (error) =>
      hasCode(error, 'ResourceExhausted') &&
      /^NRI plugin 20-e: .*more than 4194304 bytes/.test(error.message),
  );
  assert.deepEqual(collector.outcome(), before);
});

test('what is unusual and possible is taken', () => {
  const collector = new CreateCollector(containerMessage({ record, spec }));
  collector.add(
    '10-a',
    answer({
      env: [{ key: 'with space', value: 'line\nline=' }, { key: '--dash' }],
      mounts: [{ destination: '/a//b/./', type: 'bind', source: '/', options: ['rbind'] }],
      rlimits: [{ type: 'RLIMIT_AS', soft: 2n ** 64n - 1n, hard: 2n ** 64n - 1n }],
      linux: {
        // As Go's plugins read it: with the bits of a character device.
        devices: [
          { path: '/dev/x', type: 'c', major: 4095n, minor: 1_048_575n, fileMode: { value: 0o020660 } },
          { path: '/dev/y', type: 'b', fileMode: { value: ((1 << 26) | (1 << 21) | 0o600) >>> 0 } },
          { path: '/dev/z', type: 'p' },
        ],
        resources: {
          memory: { limit: { value: 2n ** 63n - 1n }, swap: { value: 0n } },
          cpu: { quota: { value: 0n }, cpus: '0-31:2/8,40' },
          pids: {},
          devices: [{ allow: true, major: { value: -1n }, access: 'rwm' }],
        },
        cgroupsPath: 'kubepods-besteffort.slice:crisp:web',
        sysctl: { 'net.ipv4.conf.eth0/100.mtu': '1500' },
        netDevices: { eth1: {} },
        namespaces: [{ type: 'mount' }],
      },
    }),
  );
  const { adjustment } = collector.outcome();
  assert.deepEqual(adjustment, {
    env: { set: { 'with space': 'line\nline=' }, removed: ['-dash'] },
    mounts: { set: [{ destination: '/a/b', type: 'bind', source: '/', options: ['rbind'] }], removed: [] },
    rlimits: [{ type: 'RLIMIT_AS', soft: 2n ** 64n - 1n, hard: 2n ** 64n - 1n }],
    devices: {
      set: [
        { path: '/dev/x', type: 'c', major: 4095, minor: 1_048_575, fileMode: 0o660 },
        { path: '/dev/y', type: 'b', major: 0, minor: 0, fileMode: 0o600 },
        { path: '/dev/z', type: 'p', major: 0, minor: 0 },
      ],
      removed: [],
    },
    deviceRules: [{ allow: true, type: 'a', access: 'rwm' }],
    resources: {
      memory: { limit: 2n ** 63n - 1n, swap: 0n },
      cpu: { quota: 0n, cpus: '0-31:2/8,40' },
    },
    cgroupsPath: 'kubepods-besteffort.slice:crisp:web',
    sysctl: { set: { 'net.ipv4.conf.eth0/100.mtu': '1500' }, removed: [] },
    netDevices: { set: { eth1: { name: 'eth1' } }, removed: [] },
    namespaces: { set: { mount: { path: '' } }, removed: [] },
  });
});
