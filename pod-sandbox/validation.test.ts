import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { Cgroups } from '#linux/ports/kernel.ts';
import { sampleConfig, sampleResources } from '#test/fixtures/sandbox-config.ts';
import { CgroupfsDriver } from './cgroup/cgroupfs.ts';
import {
  defaultLinux,
  type NamespaceOptions,
  type PortMapping,
  type SandboxConfig,
  type UserNamespace,
} from './config.ts';
import { validate } from './validation.ts';

/** Names are pure: no cgroup is touched. */
const driver = new CgroupfsDriver({} as Cgroups, '/crisp');

const refused = (config: SandboxConfig, ...words: string[]): void => {
  assert.throws(
    () => validate(config, driver),
    (error: unknown) => {
      assert.ok(error instanceof CrispError);
      assert.equal(error.code, 'InvalidArgument');
      for (const word of words) assert.ok(error.message.includes(word), `${error.message} lacks ${word}`);
      assert.notEqual(error.hint, 'correct the request', 'a remedy of its own');
      return true;
    },
  );
};

const withMetadata = (changes: object) =>
  sampleConfig({ metadata: { ...sampleConfig().metadata, ...changes } });
const withNamespaces = (changes: Partial<NamespaceOptions>, sysctls = {}): SandboxConfig => {
  const { security } = defaultLinux;
  const namespaces = { ...security.namespaces, ...changes };
  return sampleConfig({ linux: { ...defaultLinux, sysctls, security: { ...security, namespaces } } });
};
const withPort = (changes: Partial<PortMapping>) =>
  sampleConfig({
    portMappings: [{ protocol: 'tcp', containerPort: 80, hostPort: 0, hostIp: '', ...changes }],
  });
const mapping = { containerId: 0, hostId: 100_000, length: 65_536 };
const userOf = (changes: Partial<UserNamespace>) =>
  withNamespaces({ user: { mode: 'pod', uids: [mapping], gids: [mapping], ...changes } });

test('what a kubelet and the conformance suite send is accepted', () => {
  validate(sampleConfig(), driver);
  validate(sampleConfig({ hostname: '', logDirectory: '', dns: undefined }), driver);
  for (const hostname of [
    'web-0.svc.cluster.local',
    'pod-1.sub.ns.svc.',
    '-a',
    'x'.repeat(64),
    'ü'.repeat(32),
  ])
    validate(sampleConfig({ hostname }), driver);
  validate(withMetadata({ name: 'PodSandbox-for-test_1.2', uid: '' }), driver);
  validate(withNamespaces({ user: { mode: 'node', uids: [], gids: [] } }), driver);
  validate(userOf({}), driver);
  validate(withPort({ hostPort: 12000, hostIp: '127.0.0.1' }), driver);
  validate(withPort({ hostPort: 12000, hostIp: '::1', protocol: 'sctp' }), driver);
  validate(sampleConfig({ linux: { ...defaultLinux, cgroupParent: '/kubepods/burstable/pod1/' } }), driver);
});

test('metadata that could forge CNI arguments or is out of range is refused', () => {
  refused(withMetadata({ name: '' }), 'metadata.name');
  refused(withMetadata({ name: 'a;K8S_POD_UID=b' }), 'metadata.name');
  refused(withMetadata({ name: 'a\nb' }), 'metadata.name');
  refused(withMetadata({ name: 'x'.repeat(254) }), 'metadata.name');
  refused(withMetadata({ namespace: '' }), 'metadata.namespace');
  refused(withMetadata({ uid: 'a=b' }), 'metadata.uid');
  refused(withMetadata({ attempt: -1 }), 'metadata.attempt', '-1');
  refused(withMetadata({ attempt: 2 ** 32 }), 'metadata.attempt');
});

test('host names, log directories and DNS entries that cannot be are refused', () => {
  for (const hostname of ['a\n', 'a\0', 'a\u2028b', '\ud800', 'x'.repeat(65), 'ü'.repeat(33)])
    refused(sampleConfig({ hostname }), 'hostname');
  for (const logDirectory of ['var/log', '/var/../etc', '/a\0b'])
    refused(sampleConfig({ logDirectory }), 'log_directory');
  const dns = { servers: [], searches: [], options: [] };
  refused(sampleConfig({ dns: { ...dns, servers: ['1.1.1.1\nnameserver 2.2.2.2'] } }), 'dns_config.servers');
  refused(sampleConfig({ dns: { ...dns, searches: ['a b'] } }), 'dns_config.searches');
  refused(sampleConfig({ dns: { ...dns, options: [''] } }), 'dns_config.options');
});

test('ports are checked one by one, with their index', () => {
  refused(withPort({ hostPort: 65_536 }), 'port_mappings[0].host_port', '65536');
  refused(withPort({ hostPort: -1 }), 'port_mappings[0].host_port');
  refused(withPort({ hostPort: 80, containerPort: 0 }), 'port_mappings[0].container_port');
  refused(withPort({ containerPort: 1.5 }), 'port_mappings[0].container_port');
  refused(withPort({ hostIp: 'localhost' }), 'port_mappings[0].host_ip');
  refused(withPort({ protocol: 'icmp' as 'tcp' }), 'port_mappings[0].protocol');
});

test('namespace modes that a pod cannot have are refused', () => {
  for (const mode of ['container', 'target'] as const) {
    refused(withNamespaces({ network: mode }), 'network', mode.toUpperCase());
    refused(withNamespaces({ ipc: mode }), 'ipc');
    refused(userOf({ mode }), 'userns_options.mode');
  }
  refused(withNamespaces({ pid: 'target' }), 'pid TARGET');
});

test('user namespaces: exactly one mapping of each kind, from id 0, of some length, on ids that exist', () => {
  refused(
    userOf({ uids: [mapping, { ...mapping, containerId: 65_536 }] }),
    'userns_options.uids',
    '2 mappings',
  );
  refused(userOf({ gids: [] }), 'userns_options.gids', '0 mappings');
  refused(userOf({ uids: [{ ...mapping, containerId: 1 }] }), 'userns_options.uids', 'id 1');
  refused(userOf({ uids: [{ ...mapping, length: 0 }] }), 'userns_options.uids', '0 ids');
  refused(userOf({ gids: [{ ...mapping, hostId: 2 ** 32 - 10 }] }), 'userns_options.gids');
  refused(userOf({ mode: 'node' }), 'NODE');
  const user: UserNamespace = { mode: 'pod', uids: [mapping], gids: [mapping] };
  validate(withNamespaces({ user, network: 'node' }), driver);
  for (const kind of ['pid', 'ipc'] as const) refused(withNamespaces({ user, [kind]: 'node' }), kind);
});

test('sysctls: only those of a namespace that the pod has for itself', () => {
  const accepted = {
    'net.core.somaxconn': '1',
    'net/ipv4/ip_forward': '1',
    'kernel.shm_rmid_forced': '1',
    'fs.mqueue.msg_max': '9',
  };
  validate(withNamespaces({}, accepted), driver);
  validate(withNamespaces({}, { 'net/ipv4/conf/eth0.100/rp_filter': '0' }), driver);
  for (const name of [
    'kernel.panic',
    'vm.swappiness',
    'kernel.hostname',
    'kernel.shm_next_id',
    'fs.file-max',
  ]) {
    refused(withNamespaces({}, { [name]: '1' }), name, 'namespace');
  }
  for (const name of [
    'net',
    'net..x',
    'net.x.',
    'net/../kernel/panic',
    'net.a//b',
    '',
    'net.a b',
    '/net/x',
  ]) {
    refused(withNamespaces({}, { [name]: '1' }), 'linux.sysctls');
  }
  refused(withNamespaces({}, { 'net.core.somaxconn': '1\n2' }), 'value');
  refused(withNamespaces({ network: 'node' }, { 'net.core.somaxconn': '1' }), 'network');
  refused(withNamespaces({ ipc: 'node' }, { 'kernel.shmmax': '1' }), 'ipc');
});

test('cgroup parents: a safe path in the form of the driver', () => {
  const withParent = (cgroupParent: string) => sampleConfig({ linux: { ...defaultLinux, cgroupParent } });
  for (const parent of ['kubepods', '/a/../b', '/a//b', '/a/./b', '/a\nb', '/..', `/${'x'.repeat(256)}`]) {
    refused(withParent(parent), 'cgroup_parent');
  }
  refused(withParent('/kubepods.slice/kubepods-pod1.slice'), 'systemd slice');
});

test('bandwidth annotations are quantities in range', () => {
  validate(sampleConfig({ annotations: { 'kubernetes.io/ingress-bandwidth': '10M' } }), driver);
  for (const value of ['10X', '', '1', '2P', '-1M']) {
    refused(sampleConfig({ annotations: { 'kubernetes.io/egress-bandwidth': value } }), 'egress-bandwidth');
  }
});

test('resources cannot name files outside the controllers, or be negative', () => {
  const resources = sampleResources({
    cpusetCpus: '0-3,8',
    unified: { 'memory.high': '5', 'hugetlb.2MB.max': '0' },
  });
  const withResources = (changes: object) =>
    sampleConfig({ linux: { ...defaultLinux, resources: { ...resources, ...changes } } });
  validate(withResources({}), driver);
  for (const name of ['../memory.max', 'cgroup.kill', 'cgroup.procs', 'memory', 'a/b.c', '']) {
    refused(withResources({ unified: { [name]: '1' } }), 'linux.resources.unified');
  }
  refused(withResources({ unified: { 'memory.max': '1\n2' } }), 'memory.max');
  refused(withResources({ cpusetCpus: '0\n1' }), 'cpusetCpus');
  refused(withResources({ cpuShares: -1n }), 'cpuShares');
  refused(withResources({ cpuQuota: -2n }), 'cpuQuota');
  validate(withResources({ cpuQuota: -1n, memoryLimitBytes: -1n }), driver);
});
