/** Each adjustment on a spec, and each refusal with its field and plugin. */
import assert from 'node:assert/strict';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { newContainerId } from '#core/ids.ts';
import type { ContainerAdjustment } from '#core/model/adjustment.ts';
import { noResources } from '#core/model/resources.ts';
import { Operation, silentLog } from '#core/operation.ts';
import { type FakeKernel, fakeKernel } from '#linux/fake/index.ts';
import { mountOf, podOf } from '#test/fixtures/container-config.ts';
import { CdiDevices } from '../cdi/devices.ts';
import type { ContainerRecord } from '../container.ts';
import { Containers } from '../containers.ts';
import type { HandlerFeatures } from '../oci-runtime/features.ts';
import type { SpecHost } from '../spec/index.ts';
import type { OciSpec } from '../spec/oci.ts';
import { PROGRAM_ANNOTATION } from '../spec/seccomp-programs.ts';
import type { AdjustmentHost } from './adjusting.ts';
import { type AdjustedContainer, adjustContainer } from './index.ts';

const root = mkdtempSync(join(tmpdir(), 'crisp-adjust-'));
after(() => rmSync(root, { recursive: true }));

const id = newContainerId();
const specOf = (): OciSpec => ({
  ociVersion: '1.0.2',
  process: {
    terminal: false,
    user: { uid: 0, gid: 0 },
    args: ['sh'],
    env: ['PATH=/bin', 'KEPT=1', 'GONE=1', 'OLD=1'],
    cwd: '/',
    rlimits: [{ type: 'RLIMIT_CORE', soft: 0n, hard: 0n }],
    oomScoreAdj: 0,
  },
  root: { path: '/r', readonly: false },
  mounts: [
    { destination: '/proc', type: 'proc', source: 'proc' },
    { destination: '/data', type: 'bind', source: '/srv/data', options: ['rbind'] },
    { destination: '/data/sub/deep', type: 'bind', source: '/srv/deep', options: ['rbind'] },
  ],
  annotations: { 'io.kubernetes.cri.container-name': 'web', gone: '1', [PROGRAM_ANNOTATION]: 'b2xk' },
  linux: {
    namespaces: [
      { type: 'mount' },
      { type: 'network', path: '/pins/net' },
      { type: 'ipc', path: '/pins/ipc' },
      { type: 'pid' },
      { type: 'cgroup' },
    ],
    cgroupsPath: `/pod/${id}`,
    devices: [{ type: 'c', path: '/dev/gone', major: 1, minor: 5 }],
    resources: {
      devices: [
        { allow: false, access: 'rwm' },
        { allow: true, type: 'c', major: 1, minor: 5, access: 'rwm' },
      ],
    },
  },
});
const record = {
  id,
  sandboxId: podOf().id,
  metadata: { name: 'web', attempt: 0 },
  cgroup: { oci: `/pod/${id}`, path: `/pod/${id}` },
  resources: { ...noResources, memoryLimitBytes: 64n << 20n },
  mounts: [mountOf({ containerPath: '/data', hostPath: '/srv/data' })],
  sharedPid: false,
  state: 'creating',
  intents: [],
} as unknown as ContainerRecord;

interface Given {
  readonly version?: 1 | 2;
  readonly isCrun?: boolean;
  readonly features?: Partial<HandlerFeatures>;
  readonly pod?: Parameters<typeof podOf>[0];
  readonly record?: ContainerRecord;
  readonly containers?: Containers;
  readonly removing?: readonly ContainerRecord[];
  readonly leaks?: readonly { readonly record: ContainerRecord }[];
  readonly kernel?: FakeKernel;
}

const all: Partial<HandlerFeatures> = {
  version: 'runc version 1.4.1',
  scheduler: true,
  ioPriority: true,
  memoryPolicy: true,
  netDevices: true,
  intelRdt: 'all',
  recursiveReadOnly: true,
};
const old: Partial<HandlerFeatures> = {
  version: 'crun version 1.8.1',
  scheduler: false,
  ioPriority: false,
  memoryPolicy: false,
  netDevices: false,
  intelRdt: 'none',
};

async function adjusted(adjustment: ContainerAdjustment, given: Given = {}): Promise<AdjustedContainer> {
  const { version = 2, isCrun = false, features = all } = given;
  const kernel = given.kernel ?? fakeKernel({ cgroupVersion: version });
  const host = {
    version,
    controllers: new Set(['cpu', 'memory', 'pids', 'io', 'blkio', 'hugetlb', 'cpuset']),
    swap: true,
    hugepageSizes: new Set(['2MB']),
    minOomScoreAdj: -500,
    clampRlimits: (limits: unknown) => limits,
    defaults: { rdtClasses: [], absentSourcesToReject: ['/forbidden'] },
    seccompPrograms: { program: async () => 'bmV3' },
  } as unknown as SpecHost;
  const context: AdjustmentHost = {
    kernel,
    host,
    cdi: new CdiDevices([root]),
    blockio: new Map([['slow', [{ devices: undefined, weight: 80, rates: {} }]]]),
    cleanups: { removing: () => given.removing ?? [] } as unknown as AdjustmentHost['cleanups'],
    leaks: { of: () => given.leaks ?? [] } as unknown as AdjustmentHost['leaks'],
    containers: given.containers ?? new Containers(join(root, 'containers'), kernel.files, silentLog),
  };
  const oci = { handler: 'runc', isCrun, features: async () => features as HandlerFeatures };
  const container = { oci, pod: podOf(given.pod), spec: specOf(), record: given.record ?? record };
  const before = structuredClone(container.spec);
  const owners = { fields: { args: '20-b', 'rdt.closID': '20-b' }, entries: { env: { BAD: '30-c' } } };
  try {
    return await adjustContainer(context, container, { adjustment, owners }, new Operation('test'));
  } finally {
    assert.deepEqual(container.spec, before, 'what is given stays as it is');
  }
}

const refused = (adjustment: ContainerAdjustment, text: RegExp, given: Given = {}) =>
  assert.rejects(adjusted(adjustment, given), (error) => {
    assert.ok(hasCode(error, 'FailedPrecondition'), String(error));
    assert.match(error.message, text);
    assert.match(error.message, /^NRI plugin (20-b|30-c)/);
    assert.ok(error.hint.length > 0);
    return true;
  });
const change = <T>(set: Record<string, T>, removed: string[] = []) => ({ set, removed });

test('annotations, variables and arguments', async () => {
  const { spec, record: made } = await adjusted({
    annotations: change({ added: '1' }, ['gone']),
    env: change({ NEW: 'a=b', OLD: '2' }, ['GONE', 'NEVER']),
    args: ['other', ''],
  });
  assert.deepEqual(Object.keys(spec.annotations), [
    'io.kubernetes.cri.container-name',
    PROGRAM_ANNOTATION,
    'added',
  ]);
  assert.deepEqual(spec.process.env, ['PATH=/bin', 'KEPT=1', 'NEW=a=b', 'OLD=2']);
  assert.deepEqual(spec.process.args, ['other', '']);
  assert.equal(made.nri?.owners.fields['args'], '20-b');
  assert.doesNotMatch(JSON.stringify(made.nri), /a=b/, 'no value is recorded');
  await refused({ annotations: change({ 'run.oci.seccomp_bpf_data': 'x' }) }, /annotations "run\.oci.*crun/);
  await refused({ annotations: change({}, [PROGRAM_ANNOTATION]) }, /annotations "run\.oci/);
  const property = 'org.systemd.property.MemoryMax';
  await refused({ annotations: change({ [property]: 'uint64 1' }) }, /MemoryMax" is a property of/);
  await refused({ annotations: change({}, [property]) }, /MemoryMax" is a property of/);
  await refused({ env: change({ 'A=B': 'secret' }) }, /env "A=B" is no variable/);
  await refused({ env: change({ BAD: 'se\0cret' }) }, /^NRI plugin 30-c: env "BAD" is no variable$/);
  await refused({ args: [] }, /20-b: args name no program/);
  await refused({ args: ['a\0'] }, /NUL/);
});

test('limits and priorities of the process', async () => {
  const scheduler = { nice: 0, priority: 0, flags: [], runtime: 0n, deadline: 0n, period: 0n };
  const { spec, record: made } = await adjusted({
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 10n, hard: 20n }],
    oomScoreAdj: -900,
    ioPriority: { class: 'IOPRIO_CLASS_IDLE', priority: 0 },
    scheduler: { ...scheduler, policy: 'SCHED_RR', priority: 5, flags: ['SCHED_FLAG_RESET_ON_FORK'] },
  });
  assert.deepEqual(spec.process.rlimits?.[1], { type: 'RLIMIT_NOFILE', soft: 10n, hard: 20n });
  assert.equal(spec.process.oomScoreAdj, -500, 'clamped to what the daemon may set');
  assert.equal(made.resources.oomScoreAdj, -500n);
  assert.deepEqual(spec.process.ioPriority, { class: 'IOPRIO_CLASS_IDLE', priority: 0 });
  assert.deepEqual(spec.process.scheduler, {
    policy: 'SCHED_RR',
    nice: 0,
    priority: 5,
    flags: ['SCHED_FLAG_RESET_ON_FORK'],
  });
  const none = await adjusted({ scheduler: { ...scheduler, policy: 'SCHED_NONE' } }, { features: old });
  assert.equal(none.spec.process.scheduler, undefined);
  const times = { policy: 'SCHED_DEADLINE', runtime: 5_000n, deadline: 6_000n, period: 0n };
  const deadline = await adjusted({ scheduler: { ...scheduler, ...times } });
  assert.deepEqual(deadline.spec.process.scheduler, {
    policy: 'SCHED_DEADLINE',
    nice: 0,
    runtime: 5_000n,
    deadline: 6_000n,
  });
  await refused({ rlimits: [{ type: 'NOFILE', soft: 1n, hard: 2n }] }, /rlimits "NOFILE" is no limit/);
  await refused({ rlimits: [{ type: 'RLIMIT_CPU', soft: 3n, hard: 2n }] }, /3 with the hard limit 2/);
  await refused({ oomScoreAdj: 1001 }, /oomScoreAdj 1001 is out of range/);
  await refused({ ioPriority: { class: 'IOPRIO_CLASS_X', priority: 0 } }, /no class "IOPRIO_CLASS_X"/);
  await refused({ ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 8 } }, /ioPriority 8/);
  await refused({ scheduler: { ...scheduler, policy: 'SCHED_ISO' } }, /no policy "SCHED_ISO"/);
  await refused({ scheduler: { ...scheduler, policy: 'SCHED_FIFO' } }, /priority 0 with SCHED_FIFO/);
  await refused({ scheduler: { ...scheduler, policy: 'SCHED_OTHER', nice: 20 } }, /nice value 20/);
  await refused(
    { scheduler: { ...scheduler, policy: 'SCHED_OTHER', runtime: 1n } },
    /times with SCHED_OTHER/,
  );
  await refused({ scheduler: { ...scheduler, policy: 'SCHED_OTHER', flags: ['X'] } }, /no flag "X"/);
});

test('what the OCI runtime would ignore is refused with its name', async () => {
  const scheduler = { nice: 0, priority: 0, flags: [], runtime: 0n, deadline: 0n, period: 0n };
  const given = { features: old };
  const name = /runtime handler runc \(crun version 1\.8\.1\)/;
  await refused({ ioPriority: { class: 'IOPRIO_CLASS_BE', priority: 4 } }, name, given);
  await refused({ scheduler: { ...scheduler, policy: 'SCHED_BATCH' } }, name, given);
  await refused({ memoryPolicy: { mode: 'MPOL_BIND', nodes: '0', flags: [] } }, name, given);
  await refused({ netDevices: change({ eth1: { name: 'x' } }) }, name, given);
  await refused({ rdt: { closID: 'gold', remove: false } }, name, given);
  const none = await adjusted({ ioPriority: { class: 'IOPRIO_CLASS_NONE', priority: 0 } }, given);
  assert.equal(none.spec.process.ioPriority, undefined);
});

test('hooks come behind others, with a limit; one that cannot be executed is refused', async () => {
  const hook = { path: '/bin/true', args: ['true'], env: [] };
  const inside = { path: '/only/inside', args: [], env: ['A=B'], timeout: 5 };
  const { spec } = await adjusted({ hooks: { poststop: [hook], startContainer: [inside] } });
  assert.deepEqual(spec.hooks?.poststop, [{ timeout: 30, path: '/bin/true', args: ['true'] }]);
  assert.deepEqual(spec.hooks?.startContainer, [{ timeout: 5, path: '/only/inside', env: ['A=B'] }]);
  await refused({ hooks: { later: [hook] } }, /hooks "later" is no stage/);
  await refused({ hooks: { poststart: [{ ...hook, path: 'true' }] } }, /no absolute path/);
  await refused({ hooks: { poststart: [{ ...hook, path: '/no/such' }] } }, /\/no\/such: .*no such file/i);
  await refused({ hooks: { poststart: [{ ...hook, timeout: -1 }] } }, /timeout -1/);
});

test('devices with their rules, by path; the rule of a removed one goes with it', async () => {
  const device = { path: '/dev/x', type: 'c', major: 1, minor: 3, fileMode: 0o20666, uid: 7 };
  const { spec } = await adjusted({ devices: { set: [device], removed: ['/dev/gone'] } });
  assert.deepEqual(spec.linux.devices, [
    { type: 'c', path: '/dev/x', major: 1, minor: 3, fileMode: 0o666, uid: 7 },
  ]);
  assert.deepEqual(spec.linux.resources.devices, [
    { allow: false, access: 'rwm' },
    { allow: true, type: 'c', major: 1, minor: 3, access: 'rwm' },
  ]);
  const rule = { allow: true, type: 'c', major: 10, access: 'rw' };
  const all = { allow: false, type: 'a', major: 1, access: 'm' };
  const { linux } = (await adjusted({ deviceRules: [rule, all] })).spec;
  assert.deepEqual(linux.resources.devices?.slice(2), [rule, { allow: false, type: 'a', access: 'm' }]);
  await refused({ deviceRules: [{ ...rule, access: 'x' }] }, /deviceRules have c 10:\* x, which is no rule/);
  const set = (changes: object) => ({ devices: { set: [{ ...device, ...changes }], removed: [] } });
  await refused(set({ path: 'dev/x' }), /devices "dev\/x" is no path/);
  await refused(set({ type: 'x' }), /has the type "x"/);
  await refused(set({ major: -1 }), /has the number -1:3/);
  const userNamespace = { uids: [], gids: [] };
  await refused(set({}), /is not the device 1:3/, { pod: { userNamespace } });
  await adjusted(set({ path: '/dev/null' }), { pod: { userNamespace } });
});

test('CDI devices by their names', async () => {
  const document = {
    cdiVersion: '0.6.0',
    kind: 'vendor.com/x',
    devices: [{ name: 'one', containerEdits: { env: ['CDI=1'] } }],
  };
  writeFileSync(join(root, 'x.json'), JSON.stringify(document));
  const { spec } = await adjusted({ cdiDevices: ['vendor.com/x=one'] });
  assert.ok(spec.process.env.includes('CDI=1'));
  await refused({ cdiDevices: ['vendor.com/x=two'] }, /cdiDevices cannot be applied: .*two/);
});

test('network devices by their name on the node', async () => {
  const { spec } = await adjusted({ netDevices: change({ eth1: { name: 'x' }, eth2: { name: '' } }) });
  assert.deepEqual(spec.linux.netDevices, { eth1: { name: 'x' }, eth2: { name: 'eth2' } });
  const named = await adjusted({ netDevices: change({ ['__proto__']: { name: '' } }) });
  assert.deepEqual(Object.entries(named.spec.linux.netDevices ?? {}), [['__proto__', { name: '__proto__' }]]);
  await refused({ netDevices: change({ eth1: { name: 'x' }, eth2: { name: 'x' } }) }, /name x, as eth1 has/);
  await refused({ netDevices: change({ 'a/b': { name: 'x' } }) }, /no name of an interface/);
  await refused({ netDevices: change({ eth1: { name: 'x' } }) }, /network of the node/, {
    pod: { network: 'node' },
  });
});

test('mounts replace those at their path and are removed; a parent comes before its children', async () => {
  const bind = (destination: string, source: string, options: string[] = []) => ({
    destination,
    type: 'bind',
    source,
    options,
  });
  const source = join(root, 'made');
  const { spec, record: made } = await adjusted({
    mounts: {
      set: [
        bind('/data/', source, ['ro']),
        { destination: '/tmp/x', type: 'tmpfs', source: 'tmpfs', options: ['size=1m'] },
        bind('/data/sub', root, ['bind']),
      ],
      removed: ['/proc'],
    },
  });
  assert.deepEqual(
    spec.mounts.map(({ destination }) => destination),
    ['/data', '/tmp/x', '/data/sub', '/data/sub/deep'],
  );
  assert.deepEqual(spec.mounts[0]?.options, ['rbind', 'ro', 'rprivate']);
  assert.deepEqual(
    made.mounts.map(({ containerPath, hostPath, readonly }) => [containerPath, hostPath, readonly]),
    [
      ['/data', source, true],
      ['/data/sub', root, false],
    ],
  );
  const set = (mount: object) => ({ mounts: { set: [{ ...bind('/x', root), ...mount }], removed: [] } });
  await refused(set({ destination: '/' }), /mounts "\/" is no place/);
  await refused(set({ destination: '/a/../..' }), /is no place/);
  await refused(set({ source: 'relative' }), /has the source "relative"/);
  await refused(set({ options: ['ridmap'] }), /maps ids/);
  await refused(set({ options: ['rro'] }), /recursive read-only/, { features: old });
  await refused(set({ source: '/forbidden' }), /absent_mount_sources/);
});

test('a mount with propagation makes the root propagate', async () => {
  const mount = { destination: '/x', type: 'bind', source: root, options: ['rshared'] };
  const kernel = fakeKernel({ cgroupVersion: 2 });
  kernel.mounts.below = () => [{ target: '/', source: '', type: '', tags: ['shared:1'] }] as never;
  const { spec } = await adjusted({ mounts: { set: [mount], removed: [] } }, { kernel });
  assert.equal(spec.linux.rootfsPropagation, 'rshared');
  kernel.mounts.below = () => [{ target: '/', source: '', type: '', tags: [] }] as never;
  await refused({ mounts: { set: [mount], removed: [] } }, /private mount/, { kernel });
});

test('on version 2 no mount of cgroups without a namespace of them', async () => {
  const mount = { destination: '/x', type: 'cgroup2', source: 'cgroup2', options: [] };
  const namespaces = change<{ path: string }>({}, ['cgroup']);
  await refused({ namespaces, mounts: { set: [mount], removed: [] } }, /options of all cgroups/);
});

test('limits: those of CRI, those that it lacks, and what the node cannot limit', async () => {
  const { spec, record: made } = await adjusted({
    resources: {
      memory: { limit: 128n << 20n, reservation: 1n << 20n, useHierarchy: true },
      cpu: { shares: 512n, cpus: '0-1' },
      hugepageLimits: { '2MB': 4n << 20n },
      unified: { 'memory.high': '100' },
      pids: 50n,
      blockioClass: 'slow',
    },
  });
  assert.deepEqual(spec.linux.resources.memory, { limit: 128n << 20n, reservation: 1n << 20n });
  assert.deepEqual(spec.linux.resources.cpu, { shares: 512n, cpus: '0-1' });
  assert.deepEqual(spec.linux.resources.pids, { limit: 50n });
  assert.deepEqual(spec.linux.resources.blockIO, { weight: 80 });
  assert.equal(spec.linux.resources.devices?.length, 2, 'the rules of devices stay');
  assert.equal(made.resources.memoryLimitBytes, 128n << 20n);
  assert.deepEqual(made.otherLimits, { reservation: 1n << 20n, pids: 50n, blockioClass: 'slow' });
  const v1 = await adjusted(
    { resources: { memory: { swappiness: 0n, kernel: 5n } } },
    { version: 1, isCrun: true },
  );
  assert.deepEqual(v1.spec.linux.resources.memory, { limit: 64n << 20n, kernel: 5n, swappiness: 0n });
  await refused({ resources: { memory: { swappiness: 10n } } }, /memory\.swappiness cannot be set/);
  await refused({ resources: { memory: { swappiness: 101n } } }, /101/, { version: 1 });
  await refused({ resources: { memory: { kernel: 5n } } }, /memory\.kernel .*runc ignores/, { version: 1 });
  await refused({ resources: { memory: { disableOomKiller: true } } }, /disableOomKiller/);
  await refused({ resources: { memory: { useHierarchy: false } } }, /useHierarchy/);
  await refused({ resources: { cpu: { realtimeRuntime: 1n } } }, /cpu\.realtimeRuntime/);
  await refused({ resources: { unified: { 'memory.high': '1' } } }, /unified/, { version: 1 });
  await refused({ resources: { cpu: { cpus: 'all' } } }, /cpuset_cpus/);
  await refused({ resources: { unified: { 'cgroup.kill': '1' } } }, /cgroup\.kill/);
  await assert.rejects(
    adjusted({ resources: { blockioClass: 'none' } }),
    /NRI plugin .*blockioClass: "none"/,
  );
  await assert.rejects(adjusted({ resources: { rdtClass: 'gold' } }), /NRI plugin .*rdtClass: "gold"/);
});

test('RDT and the policy of memory', async () => {
  const rdt = { closID: 'gold', schemata: ['L3:0=f'], enableMonitoring: true, remove: false };
  const { spec } = await adjusted({ rdt, memoryPolicy: { mode: 'MPOL_BIND', nodes: '0-1', flags: [] } });
  const { remove: _, ...set } = rdt;
  assert.deepEqual(spec.linux.intelRdt, set);
  assert.deepEqual(spec.linux.memoryPolicy, { mode: 'MPOL_BIND', nodes: '0-1', flags: [] });
  const removed = await adjusted({ rdt: { ...rdt, remove: true } });
  assert.equal(removed.spec.linux.intelRdt, undefined);
  await refused({ rdt: { ...rdt, closID: '../x' } }, /rdt has "\.\.\/x"/);
  await refused({ rdt }, /schemata/, { features: { ...all, intelRdt: 'classes' } });
  await refused({ memoryPolicy: { mode: 'MPOL_X', nodes: '', flags: [] } }, /no mode "MPOL_X"/);
  await refused({ memoryPolicy: { mode: 'MPOL_BIND', nodes: 'a', flags: [] } }, /nodes "a"/);
});

test('namespaces, and sysctls of those that the container has', async () => {
  const namespaces = change({ network: { path: '' }, uts: { path: '/proc/self/ns/uts' } }, ['pid']);
  const { spec, record: made } = await adjusted({ namespaces });
  assert.deepEqual(spec.linux.namespaces, [
    { type: 'mount' },
    { type: 'ipc', path: '/pins/ipc' },
    { type: 'cgroup' },
    { type: 'network' },
    { type: 'uts', path: '/proc/self/ns/uts' },
  ]);
  assert.equal(made.sharedPid, true);
  await refused({ namespaces: change({}, ['mount']) }, /namespaces "mount" cannot be changed/);
  await refused({ namespaces: change({ user: { path: '' } }) }, /"user" cannot be changed/);
  await refused({ namespaces: change({ time: { path: '' } }) }, /"time" is of no known type/);
  await refused({ namespaces: change({ ipc: { path: '/etc/hostname' } }) }, /is no namespace/);
  await refused({ namespaces: change({ ipc: { path: '/no/such' } }) }, /is not there/);

  const sysctl = await adjusted({
    sysctl: change({ 'net/ipv4/conf/eth0.1/forwarding': '1', 'kernel.sem': '1 2 3 4' }),
  });
  assert.deepEqual(sysctl.spec.linux.sysctl, {
    'net.ipv4.conf.eth0/1.forwarding': '1',
    'kernel.sem': '1 2 3 4',
  });
  await refused({ sysctl: change({ 'vm.swappiness': '1' }) }, /is in no namespace/);
  await refused({ sysctl: change({ 'kernel.hostname': 'x' }) }, /no uts namespace/);
  await refused({ sysctl: change({ 'net.x': '1\n2' }) }, /one line/);
  await refused(
    { sysctl: change({ 'net.x': '1' }), namespaces: change({}, ['network']) },
    /no network namespace/,
  );
});

test('a seccomp policy replaces the rules, and the compiled filter that crun would take', async () => {
  const seccompPolicy = {
    defaultAction: 'SCMP_ACT_ALLOW',
    architectures: [],
    flags: [],
    syscalls: [
      {
        names: ['chmod'],
        action: 'SCMP_ACT_ERRNO',
        errnoRet: 1,
        args: [{ index: 1, value: 2n, valueTwo: 0n, op: 'SCMP_CMP_EQ' }],
      },
    ],
  };
  const runc = await adjusted({ seccompPolicy });
  assert.equal(runc.spec.linux.seccomp?.syscalls?.[0]?.names[0], 'chmod');
  assert.equal(runc.spec.annotations[PROGRAM_ANNOTATION], undefined);
  const crun = await adjusted({ seccompPolicy }, { isCrun: true });
  assert.equal(crun.spec.annotations[PROGRAM_ANNOTATION], 'bmV3');
  await refused({ seccompPolicy: { ...seccompPolicy, defaultAction: 'ALLOW' } }, /"ALLOW" is not an action/);
  const notify = { ...seccompPolicy, syscalls: [{ names: ['mount'], action: 'SCMP_ACT_NOTIFY', args: [] }] };
  await refused({ seccompPolicy: notify }, /needs a listenerPath/);
});

test("a cgroup must be this container's alone, directly below its pod's", async () => {
  const { spec, record: made } = await adjusted({ cgroupsPath: '/pod/own' });
  assert.equal(spec.linux.cgroupsPath, '/pod/own');
  assert.deepEqual(made.cgroup, { oci: '/pod/own', path: '/pod/own' });
  for (const path of ['/own', '/pod', '/pod/a/b', '/pod/../x', '/pod/', 'pod:a:b', '/pod/memory.max', ''])
    await refused({ cgroupsPath: path }, /no cgroup directly below \/pod/);
  await refused({ cgroupsPath: '/pod/monitors' }, /is in use/);
  const kernel = fakeKernel({ cgroupVersion: 2 });
  await kernel.cgroups.create('/pod/there');
  await refused({ cgroupsPath: '/pod/there' }, /is in use/, { kernel });
  const containers = new Containers(join(root, 'more'), kernel.files, silentLog);
  const other = { ...record, id: newContainerId() };
  await adjusted({ cgroupsPath: '/pod/one' }, { containers, record: other });
  await refused({ cgroupsPath: '/pod/one' }, /is in use/, { containers });
  const gone = { ...record, id: newContainerId(), cgroup: { oci: '/pod/two', path: '/pod/two' } };
  await refused({ cgroupsPath: '/pod/two' }, /is in use/, { removing: [gone] });
  await refused({ cgroupsPath: '/pod/two' }, /is in use/, { leaks: [{ record: gone }] });
});

test('the next attempt of a container gets the cgroup of one that has ended, once nothing of that is left', async () => {
  const kernel = fakeKernel({ cgroupVersion: 2 });
  const containers = new Containers(join(root, 'again'), kernel.files, silentLog);
  const cgroup = { oci: '/pod/web', path: '/pod/web' };
  const ended: ContainerRecord = { ...record, id: newContainerId(), state: 'exited', cgroup };
  const metadata = { name: 'web', attempt: 1 };
  const next = { kernel, containers, record: { ...record, metadata } };
  containers.publish({ ...ended, intents: [{ kind: 'cgroup', path: '/pod/web' }] });
  await refused({ cgroupsPath: '/pod/web' }, /is in use/, next);
  containers.publish({ ...ended, intents: [{ kind: 'runtime', handler: 'runc' }] });
  await refused({ cgroupsPath: '/pod/web' }, /is in use/, next);
  containers.publish({ ...ended, intents: [{ kind: 'rootfs', target: '/r' }] });
  const { record: made } = await adjusted({ cgroupsPath: '/pod/web' }, next);
  assert.equal(made.cgroup.path, '/pod/web');
});

test('a scope of systemd must be in the slice of the pod, under a name that no unit has', async () => {
  const slice = 'kubepods-pod1.slice';
  const path = `/kubepods.slice/${slice}`;
  const unit = { ...record, cgroup: { oci: `${slice}:crisp:${id}`, path: `${path}/crisp-${id}.scope` } };
  const { record: made } = await adjusted({ cgroupsPath: `${slice}:nri:a.scope` }, { record: unit });
  assert.deepEqual(made.cgroup, { oci: `${slice}:nri:a.scope`, path: `${path}/nri-a.scope.scope` });
  for (const wanted of [
    'system.slice:nri:a',
    `${slice}:nri`,
    `${slice}::a`,
    `${slice}:n:a:b`,
    `${slice}:n:a/b`,
    '/x',
  ])
    await refused({ cgroupsPath: wanted }, /is no scope in/, { record: unit });
  const kernel = fakeKernel({ cgroupVersion: 2 });
  await kernel.cgroups.create('/other.slice/nri-a.scope');
  await refused({ cgroupsPath: `${slice}:nri:a` }, /is in use/, { record: unit, kernel });
});
