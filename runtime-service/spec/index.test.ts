import assert from 'node:assert/strict';
import { statSync } from 'node:fs';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import {
  configOf,
  imageWith,
  mountOf,
  podOf,
  resourcesOf,
  securityOf,
} from '#test/fixtures/container-config.ts';
import { capabilityNames } from './capabilities.ts';
import { makeSpec, type SpecHost, type SpecRequest } from './index.ts';
import { encodeSpec } from './oci.ts';
import type { Rlimit } from './process.ts';

const DEFAULTS: SpecHost['defaults'] = {
  capabilities: ['CAP_CHOWN', 'CAP_KILL'],
  env: {},
  rlimits: [{ type: 'RLIMIT_NOFILE', soft: 1024n, hard: 1048576n }],
  seccompProfile: '',
  deviceOwnership: false,
  passwdEntry: false,
  blockioFile: '',
  rdtClasses: [],
  allowedDevices: [],
  additionalDevices: [],
  baseRuntimeSpec: '',
  apparmorProfile: '',
  absentSourcesToReject: [],
};

const HOST: SpecHost = {
  version: 2,
  controllers: new Set(['cpu', 'memory', 'pids']),
  swap: true,
  hugepageSizes: new Set(),
  arch: 'x64',
  kernel: '6.1.0',
  capabilities: capabilityNames('1ffffffffff'),
  clampRlimits: (limits) => limits,
  minOomScoreAdj: -500,
  defaults: DEFAULTS,
  baseSpecs: new Map(),
  apparmor: { profileOf: async () => undefined, check() {} },
  seccompPrograms: { program: async (rules) => `program of ${rules.defaultAction}` },
};

const RUNTIME: SpecRequest['runtime'] = { seccompPrograms: false, allowedAnnotations: [] };

const make = (changes: Partial<SpecRequest> = {}, host: Partial<SpecHost> = {}) =>
  makeSpec(
    {
      config: configOf(),
      pod: podOf(),
      image: imageWith(),
      userFiles: { passwd: 'app:x:1000:1000::/srv/app:', group: 'disk:x:6:app' },
      rootfs: '/run/rootfs',
      cgroup: '/pod/ctr',
      volumes: [],
      imageSources: new Map(),
      targetPid: undefined,
      runtime: RUNTIME,
      ...changes,
    },
    { ...HOST, ...host },
  );
const secured = (changes: Parameters<typeof securityOf>[0]) => configOf({ security: securityOf(changes) });
const refused = (making: Promise<unknown>, code: 'InvalidArgument' | 'FailedPrecondition', text: RegExp) =>
  assert.rejects(making, (error) => hasCode(error, code) && text.test(error.message));

test('a typical container of a Kubernetes pod', async () => {
  const config = configOf({
    command: ['/app'],
    args: ['--port=80'],
    envs: [{ key: 'A', value: 'b' }],
    mounts: [mountOf({ containerPath: '/etc/hosts', hostPath: '/var/lib/kubelet/hosts' })],
    resources: resourcesOf({
      cpuShares: 102n,
      memoryLimitBytes: 2n ** 53n + 1n,
      oomScoreAdj: 985n,
      unified: { 'memory.oom.group': '1' },
    }),
    security: securityOf({
      runAsUser: 1000n,
      noNewPrivs: true,
      readonlyRootfs: true,
      dropCapabilities: ['ALL'],
      maskedPaths: ['/proc/kcore'],
      readonlyPaths: ['/proc/sys'],
      seccomp: { type: 'RuntimeDefault', localhostRef: '' },
    }),
  });
  const { spec, user, sharedPid } = await make({ config });
  assert.deepEqual(user, { uid: 1000, gid: 1000, supplementalGroups: [6, 1000] });
  assert.equal(sharedPid, false);
  assert.deepEqual(spec.root, { path: '/run/rootfs', readonly: true });
  assert.deepEqual(spec.process.args, ['/app', '--port=80']);
  assert.ok(spec.process.env.includes('HOME=/srv/app'));
  assert.deepEqual(spec.process.capabilities?.bounding, []);
  assert.equal(spec.process.noNewPrivileges, true);
  assert.equal(spec.process.oomScoreAdj, 985);
  assert.equal(spec.linux.cgroupsPath, '/pod/ctr');
  assert.deepEqual([spec.linux.maskedPaths, spec.linux.readonlyPaths], [['/proc/kcore'], ['/proc/sys']]);
  assert.deepEqual(spec.linux.resources.devices?.[0], { allow: false, access: 'rwm' });
  assert.ok(spec.linux.seccomp);
  assert.ok(spec.linux.namespaces.some(({ type }) => type === 'cgroup'));
  assert.ok(
    spec.mounts.some(
      ({ destination, source }) => destination === '/etc/hosts' && source === '/var/lib/kubelet/hosts',
    ),
  );
  const text = encodeSpec(spec);
  assert.match(text, /"limit":9007199254740993[,}]/, '64-bit numbers keep their digits');
  assert.equal(JSON.parse(text).ociVersion, '1.0.2');
});

test('what is not requested is not in the spec', async () => {
  const { spec } = await make();
  assert.deepEqual(spec.linux.maskedPaths, []);
  for (const key of ['seccomp', 'uidMappings', 'rootfsPropagation']) assert.ok(!(key in spec.linux), key);
  assert.ok(!('apparmorProfile' in spec.process));
  assert.equal(spec.process.noNewPrivileges, false, 'setuid programs work');
  const v1 = await make({}, { version: 1 });
  assert.ok(!v1.spec.linux.namespaces.some(({ type }) => type === 'cgroup'));
});

test('privileged: for pods that are, with everything open', async () => {
  const config = secured({
    privileged: true,
    seccomp: { type: 'RuntimeDefault', localhostRef: '' },
    maskedPaths: ['/proc/kcore'],
  });
  await refused(make({ config }), 'InvalidArgument', /container web is privileged, its pod is not/);
  const { spec } = await make({ config, pod: podOf({ privileged: true }) });
  assert.equal(spec.process.capabilities?.bounding.length, 41);
  assert.deepEqual(spec.linux.resources.devices, [{ allow: true, access: 'rwm' }]);
  assert.ok(spec.linux.devices?.some(({ path }) => path === '/dev/null'));
  for (const key of ['seccomp', 'maskedPaths', 'readonlyPaths']) assert.ok(!(key in spec.linux), key);
  assert.ok(!spec.linux.namespaces.some(({ type }) => type === 'cgroup'));
});

test('oom_score_adj is clamped to what the daemon may give', async () => {
  const config = configOf({ resources: resourcesOf({ oomScoreAdj: -999n }) });
  assert.equal((await make({ config })).spec.process.oomScoreAdj, -500);
  assert.equal((await make({}, { minOomScoreAdj: 10 })).spec.process.oomScoreAdj, 10);
});

test('the AppArmor profile and the SELinux labels stand where the runtime looks for them', async () => {
  const label = {
    process: 'system_u:system_r:container_t:s0:c1,c2',
    files: 'system_u:object_r:container_file_t:s0',
  };
  const { spec } = await make({ label }, { apparmor: { profileOf: async () => 'k8s-nginx', check() {} } });
  assert.equal(spec.process.apparmorProfile, 'k8s-nginx');
  assert.deepEqual([spec.process.selinuxLabel, spec.linux.mountLabel], [label.process, label.files]);
});

test('what a handler has for its own goes before, or beside, that of all handlers', async () => {
  const limit = (type: string, value: bigint) => ({ type, soft: value, hard: value });
  const host = {
    defaults: {
      ...DEFAULTS,
      env: { A: 'all', B: 'all' },
      rlimits: [limit('RLIMIT_CORE', 1n), limit('RLIMIT_NPROC', 2n)],
      additionalDevices: ['/dev/zero:/dev/one', '/dev/zero:/dev/two'],
    },
    clampRlimits: (limits: readonly Rlimit[]) =>
      limits.map(({ type, soft, hard }) => ({ type, soft, hard: hard < 8n ? hard : 8n })),
  };
  const runtime = {
    ...RUNTIME,
    capabilities: ['kill'],
    env: { B: 'own', C: 'own' },
    rlimits: [limit('RLIMIT_NPROC', 3n), limit('RLIMIT_NOFILE', 9n)],
    additionalDevices: ['/dev/full:/dev/two', '/dev/full:/dev/three'],
  };
  const config = configOf({ envs: [{ key: 'C', value: 'request' }] });
  const { spec } = await make({ config, runtime }, host);
  assert.deepEqual(spec.process.capabilities?.bounding, ['CAP_KILL']);
  for (const entry of ['A=all', 'B=own', 'C=request']) assert.ok(spec.process.env.includes(entry), entry);
  assert.deepEqual(spec.process.rlimits, [
    limit('RLIMIT_CORE', 1n),
    limit('RLIMIT_NPROC', 3n),
    { type: 'RLIMIT_NOFILE', soft: 9n, hard: 8n },
  ]);
  const devices = spec.linux.devices?.map(({ path, minor }) => [path, minor]).sort();
  assert.deepEqual(devices, [
    ['/dev/one', 5],
    ['/dev/three', 7],
    ['/dev/two', 7],
  ]);
  const others = (await make({ config }, host)).spec;
  assert.deepEqual(others.process.capabilities?.bounding, ['CAP_CHOWN', 'CAP_KILL']);
  assert.ok(others.process.env.includes('B=all'));
});

test('the seccomp profile of a handler is what RuntimeDefault means to its containers', async () => {
  const config = secured({ seccomp: { type: 'RuntimeDefault', localhostRef: '' } });
  const host = { defaults: { ...DEFAULTS, seccompProfile: '/no/profile/of/all' } };
  await refused(make({ config }, host), 'InvalidArgument', /"\/no\/profile\/of\/all"/);
  const runtime = { ...RUNTIME, seccompProfile: '/no/profile/of/its/own' };
  await refused(make({ config, runtime }, host), 'InvalidArgument', /"\/no\/profile\/of\/its\/own"/);
});

test('the AppArmor profile of a handler goes before that of all', async () => {
  const apparmor = { profileOf: async (_: unknown, configured: string) => configured, check() {} };
  const host = { apparmor, defaults: { ...DEFAULTS, apparmorProfile: 'site' } };
  const profile = async (runtime: Partial<SpecRequest['runtime']>) =>
    (await make({ runtime: { ...RUNTIME, ...runtime } }, host)).spec.process.apparmorProfile;
  assert.equal(await profile({}), 'site');
  assert.equal(await profile({ apparmorProfile: '' }), 'site');
  assert.equal(await profile({ apparmorProfile: 'own' }), 'own');
});

test('user namespace: the pod’s mappings, and its pin', async () => {
  const ids = [{ containerId: 0, hostId: 100000, length: 65536 }];
  const pod = podOf({ userNamespace: { uids: ids, gids: ids }, pins: { user: '/u', net: '/n' } });
  const { spec } = await make({ pod });
  assert.deepEqual(spec.linux.uidMappings, [{ containerID: 0, hostID: 100000, size: 65536 }]);
  assert.deepEqual(spec.linux.gidMappings, spec.linux.uidMappings);
  assert.ok(spec.linux.namespaces.some(({ type, path }) => type === 'user' && path === '/u'));
});

test('a shared pid namespace is recorded: the rest must be killed when the first process ends', async () => {
  const pod = podOf({ pid: 'pod', pins: { pid: '/p' } });
  assert.equal((await make({ pod })).sharedPid, true);
  assert.equal((await make({ pod, config: secured({ pid: 'container' }) })).sharedPid, false);
  const target = await make({ config: secured({ pid: 'target', targetId: 'x' }), targetPid: 42 });
  assert.equal(target.sharedPid, true);
});

test('privileged without the devices of the node: those requested alone, and access to all only where that is set', async () => {
  const devices = [{ containerPath: '/dev/nothing', hostPath: '/dev/null', permissions: 'r' }];
  const config = configOf({ devices, security: securityOf({ privileged: true }) });
  const pod = podOf({ privileged: true });
  const of = async (flags: Partial<SpecRequest['runtime']>) =>
    (await make({ config, pod, runtime: { ...RUNTIME, ...flags } })).spec.linux;
  const none = await of({ privilegedWithoutHostDevices: true });
  assert.deepEqual(
    none.devices?.map(({ path }) => path),
    ['/dev/nothing'],
  );
  assert.deepEqual(none.resources.devices?.[0], { allow: false, access: 'rwm' });
  const all = await of({
    privilegedWithoutHostDevices: true,
    privilegedWithoutHostDevicesAllDevicesAllowed: true,
  });
  assert.deepEqual(all.devices, none.devices);
  assert.deepEqual(all.resources.devices, [{ allow: true, access: 'rwm' }]);
  const alone = await of({ privilegedWithoutHostDevicesAllDevicesAllowed: true });
  assert.ok(
    alone.devices?.some(({ path }) => path === '/dev/null'),
    'without effect by itself',
  );
});

test('cgroups of its own are writable for a container on cgroup v2 where the handler has it so', async () => {
  const runtime = { ...RUNTIME, cgroupWritable: true };
  const access = async (request: Partial<SpecRequest>, version: 1 | 2) =>
    (await make(request, { version })).spec.mounts
      .find(({ destination }) => destination === '/sys/fs/cgroup')
      ?.options?.at(-1);
  assert.equal(await access({}, 2), 'ro');
  assert.equal(await access({ runtime }, 2), 'rw');
  assert.equal(await access({ runtime }, 1), 'ro', 'those of version 1 are not delegated');
});

test('variables of the configuration are below those of image and request', async () => {
  const env = { A: 'node', B: 'node', C: 'node', PATH: '/node' };
  const config = configOf({ envs: [{ key: 'C', value: 'request' }] });
  const image = imageWith({ env: ['B=image'] });
  const { spec } = await make({ config, image }, { defaults: { ...DEFAULTS, env } });
  for (const entry of ['A=node', 'B=image', 'C=request', 'PATH=/node'])
    assert.ok(spec.process.env.includes(entry), entry);
});

test('devices belong to the user and the group that the request names, where that is configured', async () => {
  const devices = [{ containerPath: '', hostPath: '/dev/null', permissions: 'r' }];
  const { uid: user, gid: group } = statSync('/dev/null');
  const owner = async (security: Parameters<typeof securityOf>[0], deviceOwnership = true) => {
    const config = configOf({ devices, security: securityOf(security) });
    const { spec } = await make({ config }, { defaults: { ...DEFAULTS, deviceOwnership } });
    const { uid, gid } = spec.linux.devices?.[0] ?? {};
    return [uid, gid];
  };
  assert.deepEqual(await owner({ runAsUser: 1000n, runAsGroup: 77n }), [1000, 77]);
  assert.deepEqual(await owner({ runAsUser: 1000n }), [1000, group], 'the group of the node');
  assert.deepEqual(await owner({}), [user, group]);
  assert.deepEqual(await owner({ runAsUser: 1000n, runAsGroup: 77n }, false), [user, group]);
});

test('a base spec: below request, pod and image, by handler before that of all', async () => {
  const base = {
    env: { A: 'base', B: 'base' },
    rlimits: [{ type: 'RLIMIT_NOFILE', soft: 5n, hard: 6n }],
    capabilities: ['CAP_MKNOD'],
    mounts: [
      { destination: '/cache', type: 'tmpfs' },
      { destination: '/data', type: 'tmpfs' },
    ],
    hooks: { poststop: [{ path: '/bin/hook' }] },
  };
  const none = { env: {}, rlimits: [], capabilities: undefined, mounts: [], hooks: {} };
  const host = {
    defaults: { ...DEFAULTS, baseRuntimeSpec: '/all.json', env: { A: 'option' } },
    baseSpecs: new Map<string, SpecHost['baseSpecs'] extends ReadonlyMap<string, infer B> ? B : never>([
      ['/all.json', none],
      ['/own.json', base],
    ]),
  };
  const config = configOf({ envs: [{ key: 'B', value: 'request' }], mounts: [mountOf()] });
  const { spec } = await make({ config, runtime: { ...RUNTIME, baseRuntimeSpec: '/own.json' } }, host);
  assert.ok(spec.process.env.includes('A=base') && spec.process.env.includes('B=request'));
  assert.deepEqual(spec.process.rlimits, base.rlimits);
  assert.deepEqual(spec.process.capabilities?.bounding, ['CAP_MKNOD']);
  const mounted = (path: string) => spec.mounts.filter(({ destination }) => destination === path);
  assert.deepEqual(mounted('/cache'), [{ destination: '/cache', type: 'tmpfs' }]);
  assert.deepEqual(
    mounted('/data').map(({ type }) => type),
    ['bind'],
    'the request has this path',
  );
  assert.deepEqual(spec.hooks, { poststop: [{ timeout: 30, path: '/bin/hook' }] });
  const other = (await make({ config }, host)).spec;
  assert.deepEqual(other.process.capabilities?.bounding, DEFAULTS.capabilities);
  assert.equal(other.hooks, undefined);
  const removed = { ...RUNTIME, baseRuntimeSpec: '/gone.json' };
  await refused(make({ config, runtime: removed }, host), 'FailedPrecondition', /gone\.json/);
});

test('devices: those requested, with their numbers; what is none is refused', async () => {
  const devices = [{ containerPath: '/dev/nothing', hostPath: '/dev/null', permissions: 'r' }];
  const { spec } = await make({ config: configOf({ devices }) });
  const device = spec.linux.devices?.[0];
  assert.deepEqual([device?.path, device?.type, device?.major, device?.minor], ['/dev/nothing', 'c', 1, 3]);
  assert.deepEqual(spec.linux.resources.devices?.at(-1), {
    allow: true,
    type: 'c',
    access: 'r',
    major: 1,
    minor: 3,
  });
  for (const hostPath of ['/etc/passwd', '/nowhere/device']) {
    const bad = configOf({ devices: [{ containerPath: '', hostPath, permissions: '' }] });
    await refused(make({ config: bad }), 'InvalidArgument', new RegExp(`device ${hostPath}`));
  }
});

/** The annotations of a spec that do not say which container it is. */
const others = (annotations: Readonly<Record<string, string>>) =>
  Object.fromEntries(Object.entries(annotations).filter(([key]) => !key.startsWith('io.kubernetes.cri.')));

test('annotations say which container of which pod it is, whatever the client says', async () => {
  const pod = podOf();
  const { spec } = await make({
    pod,
    config: configOf({
      annotations: { 'io.kubernetes.cri.sandbox-id': 'hostile' },
      userSpecifiedImage: 'web',
    }),
    runtime: { seccompPrograms: false, allowedAnnotations: ['io.kubernetes.cri.'] },
  });
  assert.deepEqual(spec.annotations, {
    'io.kubernetes.cri.container-type': 'container',
    'io.kubernetes.cri.container-name': 'web',
    'io.kubernetes.cri.image-name': 'web',
    'io.kubernetes.cri.sandbox-id': pod.id,
    'io.kubernetes.cri.sandbox-name': pod.metadata.name,
    'io.kubernetes.cri.sandbox-namespace': pod.metadata.namespace,
    'io.kubernetes.cri.sandbox-uid': pod.metadata.uid,
  });
});

test('annotations: none of the client’s but by the handler’s list, and run.oci.* never', async () => {
  const annotations = {
    'io.katacontainers.config.x': 'container',
    'run.oci.seccomp_bpf_data': 'hostile',
    'run.oci.hooks.stdout': '/tmp/x',
    'run.other': 'x',
  };
  const pod = podOf({ annotations: { 'io.katacontainers.config.x': 'pod', 'io.katacontainers.y': 'pod' } });
  const passed = async (allowedAnnotations: string[]) => {
    const runtime = { seccompPrograms: true, allowedAnnotations };
    const { spec } = await make({ pod, config: configOf({ annotations }), runtime });
    return others(spec.annotations);
  };
  assert.deepEqual(await passed([]), {});
  assert.deepEqual(await passed(['io.kata']), {
    'io.katacontainers.config.x': 'container',
    'io.katacontainers.y': 'pod',
  });
  for (const prefix of ['run', 'run.oci.', 'run.oci.seccomp_bpf_data', 'r']) {
    const keys = Object.keys(await passed([prefix]));
    assert.deepEqual(
      keys.filter((key) => key.startsWith('run.oci')),
      [],
      prefix,
    );
  }
  assert.deepEqual(Object.keys(await passed(['run.o'])), ['run.other']);
  assert.deepEqual(await passed(['']), {}, 'an empty prefix is no prefix');
});

test('a compiled filter is beside the rules, where the runtime takes one, and is crisp’s own', async () => {
  const seccomp = { type: 'RuntimeDefault', localhostRef: '' } as const;
  const config = configOf({
    security: securityOf({ seccomp }),
    annotations: { 'run.oci.seccomp_bpf_data': 'hostile' },
  });
  const runtime = { seccompPrograms: true, allowedAnnotations: ['run.'] };
  const { spec } = await make({ config, runtime });
  assert.deepEqual(others(spec.annotations), { 'run.oci.seccomp_bpf_data': 'program of SCMP_ACT_ERRNO' });
  assert.ok((spec.linux.seccomp?.syscalls ?? []).length > 0, 'the rules stay');
  const without = { program: async () => undefined };
  assert.deepEqual(
    others((await make({ config, runtime }, { seccompPrograms: without })).spec.annotations),
    {},
  );
  const other = { ...runtime, seccompPrograms: false };
  assert.deepEqual(others((await make({ config, runtime: other })).spec.annotations), {});
  const unconfined = configOf({ security: securityOf() });
  assert.deepEqual(others((await make({ config: unconfined, runtime })).spec.annotations), {});
});
