/** On configurations of both peers, default ones and such as their documents describe: no key is dropped in silence. */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { parse as parseToml } from 'smol-toml';
import { bareKey, type LoadedConfig, loadConfig } from '#config/index.ts';
import { imageOptions, runtimeOptions } from '#daemon/options.ts';
import { parse } from '../command.ts';
import { importConfig } from '../import.ts';
import { importFlags } from '../import-flags.ts';

const FIXTURES = join(import.meta.dirname, '../../test/fixtures/peer-config');
const directory = mkdtempSync(join(tmpdir(), 'crisp-import-'));
after(() => rmSync(directory, { recursive: true }));

async function run(...words: string[]): Promise<string> {
  let out = '';
  const parsed = parse('config import', words, { flags: importFlags, arity: [1, Infinity] });
  const code = await importConfig(parsed, {
    out: (text) => {
      out += text;
    },
  });
  assert.equal(code, 0);
  return out;
}

/** The paths of all values, as the output writes them. */
function keysOf(value: unknown, path: readonly string[] = []): string[] {
  const isTable = typeof value === 'object' && value !== null && !Array.isArray(value);
  const isTables = Array.isArray(value) && value.length > 0 && value.every((one) => typeof one === 'object');
  const entries = isTable || isTables ? Object.entries(value as object) : [];
  if (entries.length === 0) return [path.map(bareKey).join('.')];
  return entries.flatMap(([key, item]) => keysOf(item, [...path, key]));
}

const keysIn = (file: string): string[] => {
  const text = readFileSync(file, 'utf8');
  return keysOf(file.endsWith('.json') ? JSON.parse(text) : parseToml(text));
};

/** crisp's own loader takes the output, and so do the checks at the start of the daemon. */
async function load(text: string): Promise<LoadedConfig> {
  const file = join(directory, 'crisp.toml');
  writeFileSync(file, text);
  const loaded = await loadConfig({ requiredFiles: [file] });
  runtimeOptions(loaded.config);
  imageOptions(loaded.config, loaded.settings, {});
  return loaded;
}

interface Item {
  readonly from: string;
  readonly key: string;
  readonly outcome: string;
  readonly to: string | null;
  readonly note: string;
}

/** Each key of each file is in the TOML with its origin, and in the JSON with an outcome. */
async function complete(peer: string, given: readonly string[], read: readonly string[] = given) {
  const text = await run(peer, ...given);
  const lines = text.split('\n').filter((line) => line.startsWith('# '));
  const items = JSON.parse(await run(peer, '--output', 'json', ...given)) as Item[];
  for (const file of read) {
    for (const key of keysIn(file)) {
      const isHere = (line: string) => line.includes(`${key} = `) && line.includes(`(${file}:`);
      assert.ok(lines.some(isHere), `${key} of ${file} is not in the output`);
      const item = items.find((one) => one.key === key && one.from.startsWith(`${file}:`));
      assert.ok(item, `${key} of ${file} is not in the list`);
      assert.ok(['set', 'same', 'default', 'differs', 'cannot', 'overridden'].includes(item.outcome));
      if (item.outcome === 'cannot') assert.ok(item.note.length > 10, `${key}: no reason`);
      assert.equal(item.outcome === 'set', item.to !== null, key);
    }
  }
  return { text, items, ...(await load(text)) };
}

const crio = (...names: string[]) => names.map((name) => join(FIXTURES, 'crio', name));
const containerd = (...names: string[]) => names.map((name) => join(FIXTURES, 'containerd', name));
const outcomes = (items: readonly Item[], outcome: string) =>
  items.filter((item) => item.outcome === outcome).map(({ key }) => key);

test('CRI-O with every option at its default needs no setting but for SELinux', async () => {
  const { items, config } = await complete('crio', crio('default.conf'));
  assert.deepEqual(
    items.filter(({ to }) => to !== null).map(({ to }) => to),
    ['selinux.mode', 'selinux.disable_for_host_network'],
  );
  assert.deepEqual([config.selinux.mode, config.selinux.disableForHostNetwork], ['off', true]);
  assert.deepEqual(outcomes(items, 'cannot'), []);
  assert.ok(outcomes(items, 'differs').includes('crio.runtime.disable_hostport_mapping'));
});

test('CRI-O with several OCI runtimes', async () => {
  const { config, text, items } = await complete('crio', crio('handlers.conf'));
  assert.equal(config.runtime.default, 'runc');
  assert.deepEqual(Object.keys(config.runtime.handlers).sort(), [
    'high-performance',
    'nvidia',
    'plain',
    'runc',
    'slow',
  ]);
  assert.equal(config.runtime.handlers['high-performance']?.path, '/usr/local/sbin/runc');
  assert.equal(config.runtime.handlers['plain']?.path, 'plain');
  assert.equal(config.runtime.handlers['plain']?.seccompProfile, '/etc/crio/plain.json');
  assert.equal(config.seccomp.defaultProfile, '');
  assert.deepEqual(config.runtime.handlers['nvidia']?.allowedAnnotations, [
    'shm-size.crio.io',
    'example.com/gpu',
  ]);
  assert.equal(config.container.blockioConfigFile, '/etc/containers/blockio.yaml');
  assert.deepEqual(config.container.allowedAnnotations, [
    'io.kubernetes.cri.blockio-class',
    'blockio.resources.beta.kubernetes.io/',
  ]);
  assert.equal(config.conmon.path, '/usr/local/bin/conmon');
  assert.equal(config.timeouts.runtime, 600_000);
  assert.ok(outcomes(items, 'cannot').includes('crio.runtime.runtimes.kata.runtime_path'));
  assert.match(text, /userns-mode\.crio\.io: hostUsers: false/);
});

test('CRI-O with registries.conf, its drop-ins and policy.json', async () => {
  const files = crio('registries.crio.conf', 'registries.conf', 'registries.d', 'policy.json');
  const read = files.map((file) => file.replace(/registries\.d$/, 'registries.d/00-aliases.conf'));
  const { config, items } = await complete('crio', files, read);
  assert.equal(config.image.registriesConf, files[1]);
  assert.equal(config.image.registriesConfDir, files[2]);
  assert.equal(config.image.authFile, '/var/lib/kubelet/config.json');
  assert.equal(config.image.pullStallTimeout, 120_000);
  assert.deepEqual(config.image.pinned, ['registry.example.com/base:1', 'registry.example.com/agents/*']);
  const cannot = outcomes(items, 'cannot');
  assert.ok(cannot.includes('credential-helpers'));
  assert.ok(cannot.includes('transports.docker."registry.example.net".0.type'));
  assert.ok(!cannot.includes('transports.docker."registry.example.com".0.type'));
});

test('CRI-O with limits, hooks and workloads: drop-ins count by name, and replace a handler as a whole', async () => {
  const files = crio('limits.conf', 'limits.conf.d/10-log.conf', 'limits.conf.d/20-log');
  const { config, items, text } = await complete('crio', crio('limits.conf'), files);
  assert.equal(config.log.level, 'warn');
  assert.deepEqual(
    { ...config.container.rlimits },
    { nofile: '65536:1048576', memlock: 'unlimited:unlimited', nproc: '4096:4096' },
  );
  assert.equal(config.container.defaultSysctls['net.ipv4.ip_forward'], '0');
  assert.equal(config.runtime.handlers['crun']?.path, '/opt/crun/bin/crun');
  assert.equal(config.conmon.path, 'conmon', 'the monitor of the replaced handler does not count');
  assert.equal(config.cgroup.driver, 'cgroupfs');
  const overridden = items.filter(({ outcome }) => outcome === 'overridden');
  assert.equal(overridden.length, 5);
  assert.match(text, /pids_limit = 4096 .*: overridden by \S+10-log\.conf:3\n/);
  assert.match(text, /monitor_path = "\/usr\/bin\/conmon" .*, which has the whole table again\n/);
});

test('CRI-O with user namespaces, seccomp, TLS, metrics, traces and a typo', async () => {
  const { config, text } = await complete('crio', crio('security.conf'));
  assert.equal(config.streaming.address, '[::1]:10010');
  assert.equal(config.streaming.tlsClientCaFile, '/etc/crio/ca.crt');
  assert.equal(config.metrics.address, '127.0.0.1:9537');
  assert.equal(config.tracing.endpoint, '', 'that is a gRPC receiver');
  assert.deepEqual(config.cni.binDirs, ['/usr/libexec/cni', '/opt/cni/bin', '/var/lib/cni/bin']);
  assert.equal(config.seccomp.defaultProfile, '/etc/crio/seccomp.json');
  assert.equal(config.container.apparmorProfile, 'my-default');
  assert.match(text, /read_onyl = true \(.*\): not an option of CRI-O .*\(did you mean read_only\?\)/);
});

test('containerd 1 with every option at its default keeps its driver, its sysctls and no CDI', async () => {
  const { config, items } = await complete('containerd', containerd('default-v2.toml'));
  assert.equal(config.cgroup.driver, 'cgroupfs');
  assert.equal(config.runtime.default, 'runc');
  assert.deepEqual(config.cdi.dirs, []);
  assert.deepEqual(
    { ...config.container.defaultSysctls },
    { 'net.ipv4.ip_unprivileged_port_start': '1024', 'net.ipv4.ping_group_range': '1 0' },
  );
  assert.deepEqual(outcomes(items, 'cannot'), []);
});

test('containerd 2 with every option at its default keeps its driver, its runtime and no SELinux labels', async () => {
  const { items } = await complete('containerd', containerd('default-v3.toml'));
  assert.deepEqual(
    items.filter(({ to }) => to !== null).map(({ to }) => to),
    ['selinux.mode', 'runtime.default', 'cgroup.driver', 'cni.ip_pref'],
  );
  assert.deepEqual(outcomes(items, 'cannot'), []);
});

test("containerd with a vendor's runtime in a file that is imported", async () => {
  const files = containerd('nvidia.toml', 'conf.d/99-nvidia.toml');
  const { config, text } = await complete('containerd', containerd('nvidia.toml'), files);
  assert.equal(config.runtime.default, 'nvidia');
  assert.equal(config.cgroup.driver, 'auto');
  assert.deepEqual(Object.keys(config.runtime.handlers).sort(), ['legacy', 'nvidia']);
  assert.equal(config.runtime.handlers['legacy']?.path, 'runc', 'without BinaryName');
  assert.deepEqual(config.runtime.handlers['nvidia']?.allowedAnnotations, ['nvidia.com.']);
  assert.match(text, /# Note: .*containerd 1 takes the later table alone/);
});

test('containerd with mirrors, TLS and credentials in its own file: no secret is shown', async () => {
  const { config, text, items } = await complete('containerd', containerd('mirrors.toml'));
  const { registries } = config.image;
  assert.deepEqual(registries['docker.io']?.mirrors, [
    'https://mirror.example.com',
    'http://192.0.2.1:5000/v2',
  ]);
  assert.equal(registries['registry.internal:5000']?.insecure, true);
  assert.equal(registries['mirror.example.com']?.caFile, '/etc/ssl/mirror.pem');
  assert.equal(registries['192.0.2.1:5000']?.skipVerify, true);
  assert.equal(registries['quay.io'], undefined);
  for (const output of [text, JSON.stringify(items)])
    assert.doesNotMatch(output, /hunter2|aHVudGVy|_json_key/);
});

test('containerd with certs.d: its hosts.toml are listed, too', async () => {
  const [file = '', hosts = '', fallback = ''] = containerd(
    'certs-d.toml',
    'certs.d/docker.io/hosts.toml',
    'certs.d/_default/hosts.toml',
  );
  const certs = join(FIXTURES, 'containerd/certs.d');
  const copy = join(directory, 'certs-d.toml');
  writeFileSync(copy, readFileSync(file, 'utf8').replace('@CERTS_D@', `${certs}/:/nonexistent/certs.d`));
  const { config, text, items } = await complete('containerd', [copy], [copy, hosts, fallback]);
  assert.deepEqual(config.image.hostsDirs, [certs, '/nonexistent/certs.d']);
  assert.deepEqual(config.image.certsDirs, config.image.hostsDirs);
  assert.deepEqual([...config.image.pinned].sort(), [
    'registry.example.com/agent:2',
    'registry.example.com/base:1',
  ]);
  assert.equal(config.image.layers, 'erofs');
  assert.equal(config.image.concurrentLayers, 8);
  assert.deepEqual(
    Object.keys(config.image.registries),
    [],
    'containerd does not use them beside config_path',
  );
  assert.ok(outcomes(items, 'cannot').includes('host."https://cache.example.com/v2/all".capabilites'));
  assert.doesNotMatch(text, /hunter2/);
});

test('containerd with version 4, and options of the node', async () => {
  const { config, items } = await complete('containerd', containerd('node.toml'));
  assert.equal(config.log.level, 'debug');
  assert.equal(config.metrics.address, '127.0.0.1:1338');
  assert.equal(config.streaming.address, '0.0.0.0:10010');
  assert.equal(config.tracing.samplesPerMillion, 250_000);
  assert.equal(config.image.maxVerifiers, -1);
  assert.equal(config.cgroup.driver, 'cgroupfs', 'the one of the default runtime');
  const cannot = outcomes(items, 'cannot');
  const runtimes = 'plugins."io.containerd.cri.v1.runtime".containerd.runtimes';
  assert.ok(cannot.includes(`${runtimes}.runc.options.SystemdCgroup`));
  assert.ok(cannot.includes(`${runtimes}.crun.pod_annotations`));
  assert.ok(cannot.includes('plugins."com.example.thing.v1.other".key'));
});
