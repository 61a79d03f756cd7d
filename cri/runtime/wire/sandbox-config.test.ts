/** Requests as they arrive: encoded and decoded, so that unset fields have their decoded values. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { cri, fromBigInt } from '#api/cri/v1/index.ts';
import { hasCode } from '#core/errors.ts';
import { defaultLinux } from '#pod-sandbox/index.ts';
import { MAX_LABELS } from './labels.ts';
import { sandboxConfig } from './sandbox-config.ts';

const metadata = { name: 'web-0', uid: 'b3b1', namespace: 'default', attempt: 3 };
const received = (config: cri.PodSandboxConfigInit) =>
  cri.PodSandboxConfig.decode(cri.PodSandboxConfig.encode(config).finish());
const of = (config: cri.PodSandboxConfigInit) => sandboxConfig(received({ metadata, ...config }));
const refused = (act: () => unknown, text: RegExp) =>
  assert.throws(act, (error) => hasCode(error, 'InvalidArgument') && text.test(error.message));

test('a config needs metadata; all else has a default', () => {
  refused(() => sandboxConfig(null), /metadata is missing/);
  refused(() => sandboxConfig(received({ hostname: 'x' })), /metadata is missing/);
  assert.deepEqual(of({}), {
    metadata,
    hostname: '',
    logDirectory: '',
    dns: undefined,
    portMappings: [],
    labels: Object.create(null),
    annotations: Object.create(null),
    linux: defaultLinux,
  });
});

test('an empty dns_config is an empty file, a missing one the node’s', () => {
  assert.deepEqual(of({ dnsConfig: {} }).dns, { servers: [], searches: [], options: [] });
  const dnsConfig = { servers: ['10.0.0.10'], searches: ['svc'], options: ['ndots:5'] };
  assert.deepEqual(of({ dnsConfig }).dns, dnsConfig);
});

test('keys of Object.prototype in labels, annotations and sysctls are ordinary keys', () => {
  const hostile: Record<string, string> = Object.create(null);
  for (const key of ['__proto__', 'constructor', 'toString', '', 'a\0b', '\u{1f600}'])
    hostile[key] = `value of ${key}`;
  const config = of({ labels: hostile, annotations: hostile, linux: { sysctls: hostile } });
  for (const map of [config.labels, config.annotations, config.linux.sysctls]) {
    assert.deepEqual(Object.entries(map).toSorted(), Object.entries(hostile).toSorted());
  }
  assert.equal(({} as { polluted?: string }).polluted, undefined);
});

test('port mappings', () => {
  const mapping = { protocol: cri.Protocol.UDP, containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' };
  assert.deepEqual(of({ portMappings: [mapping, {}] }).portMappings, [
    { protocol: 'udp', containerPort: 53, hostPort: 5353, hostIp: '127.0.0.1' },
    { protocol: 'tcp', containerPort: 0, hostPort: 0, hostIp: '' },
  ]);
  refused(() => of({ portMappings: [{ protocol: 9 }] }), /protocol: 9/);
});

test('a linux block without a security context has the default one', () => {
  const { linux } = of({ linux: { cgroupParent: '/kubepods/pod1' } });
  assert.deepEqual(linux, { ...defaultLinux, cgroupParent: '/kubepods/pod1', sysctls: Object.create(null) });
});

test('the security context; user 0 and no user are distinct', () => {
  const security = (securityContext: cri.LinuxSandboxSecurityContextInit) =>
    of({ linux: { securityContext } }).linux.security;
  const bare = security({});
  assert.deepEqual(
    [bare.runAsUser, bare.runAsGroup, bare.seccomp, bare.selinux],
    [undefined, undefined, undefined, undefined],
  );
  const full = security({
    privileged: true,
    readonlyRootfs: true,
    runAsUser: { value: fromBigInt(0n) },
    runAsGroup: {},
    supplementalGroups: [fromBigInt(1n), fromBigInt(2n ** 40n)],
    seccomp: {},
    apparmor: { profileType: 2, localhostRef: 'localhost/k8s' },
    selinuxOptions: { type: 't', level: 's0' },
  });
  assert.deepEqual(
    [full.privileged, full.readonlyRootfs, full.runAsUser, full.runAsGroup],
    [true, true, 0n, 0n],
  );
  assert.deepEqual(full.supplementalGroups, [1n, 2n ** 40n]);
  assert.deepEqual(
    full.seccomp,
    { type: 'RuntimeDefault', localhostRef: '' },
    'an empty message is RuntimeDefault',
  );
  assert.equal(full.apparmor?.type, 'Localhost');
  assert.deepEqual(full.selinux, { user: '', role: '', type: 't', level: 's0' });
  refused(() => security({ seccomp: { profileType: 3 } }), /seccomp/);
});

test('namespaces: missing options are the pod’s, and each mode is kept', () => {
  const namespaces = (namespaceOptions: cri.NamespaceOptionInit) =>
    of({ linux: { securityContext: { namespaceOptions } } }).linux.security.namespaces;
  assert.deepEqual(
    of({ linux: { securityContext: {} } }).linux.security.namespaces,
    defaultLinux.security.namespaces,
  );
  assert.deepEqual(namespaces({}), { network: 'pod', pid: 'pod', ipc: 'pod', user: undefined });
  const { NODE, CONTAINER, POD } = cri.NamespaceMode;
  const ids = [{ hostId: 100000, containerId: 0, length: 65536 }];
  assert.deepEqual(
    namespaces({
      network: NODE,
      pid: CONTAINER,
      ipc: POD,
      usernsOptions: { mode: POD, uids: ids, gids: ids },
    }),
    {
      network: 'node',
      pid: 'container',
      ipc: 'pod',
      user: { mode: 'pod', uids: ids, gids: ids },
    },
  );
  refused(() => namespaces({ pid: 4 }), /namespace_options\.pid: 4/);
  refused(() => namespaces({ network: -1 }), /network: -1/);
  refused(() => namespaces({ usernsOptions: { mode: 7 } }), /userns_options\.mode: 7/);
});

test('resources keep all 64 bits', () => {
  const big = 2n ** 63n - 1n;
  const resources = {
    cpuQuota: fromBigInt(-1n),
    memoryLimitInBytes: fromBigInt(big),
    memorySwapLimitInBytes: fromBigInt(2n ** 53n + 1n),
    hugepageLimits: [{ pageSize: '2MB', limit: fromBigInt(2n ** 64n - 1n) }],
    unified: { 'memory.high': '5' },
  };
  const { linux } = of({ linux: { resources, overhead: {} } });
  assert.deepEqual(
    [linux.resources?.cpuQuota, linux.resources?.memoryLimitBytes, linux.resources?.memorySwapLimitBytes],
    [-1n, big, 2n ** 53n + 1n],
  );
  assert.deepEqual(linux.resources?.hugepageLimits, [{ pageSize: '2MB', limit: 2n ** 64n - 1n }]);
  assert.deepEqual({ ...linux.resources?.unified }, { 'memory.high': '5' });
  assert.equal(linux.overhead?.cpuShares, 0n);
});

test('labels and annotations together have a limit', () => {
  const long = 'x'.repeat(MAX_LABELS);
  assert.equal(of({ labels: { '': long } }).labels[''], long);
  assert.throws(() => of({ annotations: { a: long } }), /labels and annotations have 8388609 bytes/);
});
