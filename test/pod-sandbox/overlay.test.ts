/**
 * Two nodes with an overlay between them, as flannel makes it: two network namespaces, each with a crisp of its own, a VXLAN over the
 * link between them, a subnet for each, and routes, neighbours and forwarding entries as flanneld writes them.
 */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { once } from 'node:events';
import { globSync, mkdirSync, mkdtempSync, readdirSync, rmdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { openKernel } from '#linux/index.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { type DaemonSettings, startDaemon, type TestDaemon } from '../harness/daemon.ts';
import { until } from '../harness/pods.ts';

const UNDERLAY_MTU = 1500;
/** Less the headers of VXLAN over IPv4. */
const MTU = UNDERLAY_MTU - 50;

interface Node {
  readonly name: string;
  readonly netns: string;
  readonly underlay: string;
  readonly subnet: string;
  /** Of the VXLAN's link. */
  readonly mac: string;
  readonly settings: DaemonSettings;
  daemon: TestDaemon;
}

let kernel: Kernel;
let directory = '';
const nodes: Node[] = [];

function run(netns: string | undefined, ...argv: string[]): string {
  const [program = '', ...args] = netns === undefined ? argv : ['nsenter', `--net=${netns}`, ...argv];
  const { status, stdout, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, `${argv.join(' ')}: ${stderr}`);
  return stdout;
}

/** What flanneld leaves on a node, with the delegate's bridge as its plugin writes it. */
function conflist(at: string, subnet: string): object {
  const ipam = {
    type: 'host-local',
    ranges: [[{ subnet }]],
    routes: [{ dst: '10.244.0.0/16' }, { dst: '0.0.0.0/0' }],
    dataDir: join(at, 'ipam'),
  };
  const bridge = { type: 'bridge', bridge: 'cni0', isGateway: true, hairpinMode: true, mtu: MTU, ipam };
  return {
    cniVersion: '1.0.0',
    name: 'cbr0',
    plugins: [bridge, { type: 'portmap', capabilities: { portMappings: true } }],
  };
}

async function node(number: 1 | 2, network: 'auto' | 'exec'): Promise<Node> {
  const at = join(directory, `node${number}`);
  mkdirSync(join(at, 'cni/net.d'), { recursive: true });
  const netns = join(directory, `net${number}`);
  await kernel.namespaces.pinEmptyNetwork(netns);
  const subnet = `10.244.${number}.0/24`;
  writeFileSync(join(at, 'cni/net.d/10-flannel.conflist'), JSON.stringify(conflist(at, subnet)));
  const cgroup = `${process.env['CRISP_TEST_CGROUP']}/overlay${number}`;
  const wrapper = ['nsenter', `--net=${netns}`];
  const settings: DaemonSettings = { directory: at, cgroup, network, wrapper };
  const underlay = `192.0.2.${number}`;
  const mac = `0e:00:00:00:00:0${number}`;
  return { name: `node${number}`, netns, underlay, subnet, mac, settings, daemon: undefined as never };
}

function connect({ netns, underlay, subnet, mac }: Node, other: Node): void {
  const own = (...argv: string[]) => run(netns, ...argv);
  own('ip', 'link', 'set', 'lo', 'up');
  own('ip', 'addr', 'add', `${underlay}/24`, 'dev', 'under0');
  own('ip', 'link', 'set', 'under0', 'mtu', `${UNDERLAY_MTU}`, 'up');
  const vxlan = ['vxlan', 'id', '1', 'local', underlay, 'dev', 'under0', 'dstport', '8472', 'nolearning'];
  own('ip', 'link', 'add', 'flannel.1', 'address', mac, 'mtu', `${MTU}`, 'type', ...vxlan);
  const [address = ''] = subnet.split('/');
  own('ip', 'addr', 'add', `${address}/32`, 'dev', 'flannel.1');
  own('ip', 'link', 'set', 'flannel.1', 'up');
  const [via = ''] = other.subnet.split('/');
  own('ip', 'route', 'add', other.subnet, 'via', via, 'dev', 'flannel.1', 'onlink');
  own('ip', 'neigh', 'add', via, 'lladdr', other.mac, 'dev', 'flannel.1', 'nud', 'permanent');
  own('bridge', 'fdb', 'add', other.mac, 'dev', 'flannel.1', 'dst', other.underlay);
  const masquerade = ['-s', '10.244.0.0/16', '!', '-d', '10.244.0.0/16', '-j', 'MASQUERADE'];
  own('iptables', '-t', 'nat', '-A', 'POSTROUTING', ...masquerade);
}

before(async () => {
  const base = process.env['CRISP_TEST_DIR'];
  if (!base) throw new Error('run this with test/run.ts: it creates the namespaces and sets CRISP_TEST_*');
  directory = mkdtempSync(join(base, 'overlay-'));
  kernel = await openKernel();
  nodes.push(await node(1, 'auto'), await node(2, 'exec'));
  const [one, two] = both();
  const ends = [
    'name',
    'under0',
    'netns',
    one.netns,
    'type',
    'veth',
    'peer',
    'name',
    'under0',
    'netns',
    two.netns,
  ];
  run(undefined, 'ip', 'link', 'add', ...ends);
  connect(one, two);
  connect(two, one);
  for (const each of nodes) each.daemon = await startDaemon(each.settings);
});

after(async () => {
  for (const { daemon, netns } of nodes) {
    for (const { id } of (await daemon.client.ListPodSandbox({})).items) await remove(daemon, id);
    await daemon.stop();
    await kernel.mounts.unmount(netns);
  }
  for (const { target } of kernel.mounts.below(directory).toReversed()) await kernel.mounts.unmount(target);
  await kernel.close();
  // The group that the test files of a run share goes with its last user.
  const shared = process.env['CRISP_TEST_CGROUP'] ?? '';
  for (const path of globSync([`/sys/fs/cgroup${shared}`, `/sys/fs/cgroup/*${shared}`])) {
    try {
      rmdirSync(path);
    } catch {
      // In use by another test.
    }
  }
  rmSync(directory, { recursive: true, force: true });
});

const both = (): [Node, Node] => [nodes[0] ?? assert.fail(), nodes[1] ?? assert.fail()];

interface Pod {
  readonly id: string;
  readonly ip: string;
  readonly netns: string;
}
let count = 0;

async function pod({ daemon, name }: Node, ports: readonly number[] = []): Promise<Pod> {
  const metadata = { name: `${name}-${++count}`, uid: `uid${count}`, namespace: 'default', attempt: 0 };
  const portMappings = ports.map((hostPort) => ({ protocol: 0, containerPort: 80, hostPort, hostIp: '' }));
  const { podSandboxId: id } = await daemon.client.RunPodSandbox({
    config: { metadata, hostname: metadata.name, logDirectory: directory, portMappings, linux: {} },
  });
  const { status, info } = await daemon.client.PodSandboxStatus({ podSandboxId: id, verbose: true });
  const { networkNamespace } = JSON.parse(info['info'] ?? '{}') as { networkNamespace: string };
  return { id, ip: status?.network?.ip ?? '', netns: networkNamespace };
}

async function remove(daemon: TestDaemon, podSandboxId: string): Promise<void> {
  await daemon.client.StopPodSandbox({ podSandboxId });
  await daemon.client.RemovePodSandbox({ podSandboxId });
}

/** Whether one packet with so many bytes of data is answered. */
const reaches = (from: Pod, ip: string, bytes = 56): boolean => {
  const ping = ['busybox', 'ping', '-c1', '-W2', '-s', `${bytes}`, ip];
  return spawnSync('nsenter', [`--net=${from.netns}`, ...ping]).status === 0;
};

test('pods of one node reach those of the other, both ways, by their own addresses', async () => {
  const [one, two] = both();
  const [a, b] = [await pod(one), await pod(two)];
  assert.match(a.ip, /^10\.244\.1\./);
  assert.match(b.ip, /^10\.244\.2\./);
  await until('a reaches b', () => reaches(a, b.ip));
  await until('b reaches a', () => reaches(b, a.ip));
  const seen = await requested(a, b);
  assert.equal(seen, a.ip, 'the other pod sees the pod, and not its node');
});

test('the links of pods have the MTU of the overlay: packets of that size pass in one piece', async () => {
  const [one, two] = both();
  const [a, b] = [await pod(one), await pod(two)];
  for (const { netns } of [a, b])
    assert.match(run(netns, 'ip', 'link', 'show', 'eth0'), new RegExp(`mtu ${MTU} `));
  for (const { netns } of nodes)
    assert.match(run(netns, 'ip', 'link', 'show', 'cni0'), new RegExp(`mtu ${MTU} `));
  await until('a reaches b', () => reaches(a, b.ip));
  const pieces = () => [a, b, ...nodes].map(({ netns }) => fragmented(netns)).join();
  const none = pieces();
  assert.ok(reaches(a, b.ip, MTU - 28), 'the largest packet');
  assert.equal(pieces(), none);
  assert.ok(reaches(a, b.ip, MTU - 27), 'a larger one, in two pieces');
  assert.notEqual(pieces(), none);
});

test('a host port of one node is reached from pods of the other', async () => {
  const [one, two] = both();
  const [a, b] = [await pod(one), await pod(two, [8181])];
  const seen = await requested(a, b, `http://${two.underlay}:8181/`);
  assert.notEqual(seen, '');
});

test('a daemon that is killed: its pods stay reachable, new ones get other addresses, all of them go', async () => {
  const [one, two] = both();
  const [a, b] = [await pod(one), await pod(two)];
  await one.daemon.kill();
  await until('without a daemon', () => reaches(b, a.ip));
  one.daemon = await startDaemon(one.settings);
  const next = await pod(one);
  assert.notEqual(next.ip, a.ip);
  await until('a new pod reaches b', () => reaches(next, b.ip));
  for (const { daemon } of nodes)
    for (const { id } of (await daemon.client.ListPodSandbox({})).items) await remove(daemon, id);
  for (const { netns, settings } of nodes) {
    await until('the links are gone', () => run(netns, 'ip', '-o', 'link', 'show', 'master', 'cni0') === '');
    const files = readdirSync(join(settings.directory, 'ipam/cbr0'));
    assert.deepEqual(
      files.filter((name) => /^10\./.test(name)),
      [],
    );
    const rules = run(netns, 'iptables-save', '-t', 'nat');
    assert.doesNotMatch(rules, /10\.244\.\d+\.\d+\/32|8181/);
  }
});

/** Packets that the node has cut in pieces. */
function fragmented(netns: string): number {
  const [names = '', values = ''] = run(netns, 'cat', '/proc/net/snmp')
    .split('\n')
    .filter((line) => line.startsWith('Ip: '));
  return Number(values.split(' ')[names.split(' ').indexOf('FragCreates')]);
}

/** Asks a server in the pod, which answers with the address that it sees. */
async function requested(from: Pod, server: Pod, url = `http://${server.ip}/cgi-bin/who`): Promise<string> {
  const home = join(directory, `www-${server.id.slice(0, 8)}`);
  mkdirSync(join(home, 'cgi-bin'), { recursive: true });
  writeFileSync(join(home, 'cgi-bin/who'), '#!/bin/sh\necho; echo "$REMOTE_ADDR"\n', { mode: 0o755 });
  writeFileSync(join(home, 'index.html'), 'it\n');
  const argv = [`--net=${server.netns}`, 'busybox', 'httpd', '-f', '-p', '80', '-h', home];
  const child = spawn('nsenter', argv, { stdio: 'inherit' });
  try {
    const get = () => {
      const args = [`--net=${from.netns}`, 'timeout', '3', 'busybox', 'wget', '-q', '-O', '-', url];
      return spawnSync('nsenter', args, { encoding: 'utf8' }).stdout.trim();
    };
    return (await until(`an answer of ${url}`, get)).replace(/^\[?::ffff:|\]$/g, '');
  } finally {
    child.kill('SIGKILL');
    await once(child, 'exit');
  }
}
