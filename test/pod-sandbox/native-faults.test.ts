/** Faults of networks made in-process: each error names its cause, and DEL leaves nothing. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { chmod, mkdir, readdir, writeFile } from 'node:fs/promises';
import { connect } from 'node:net';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { CrispError } from '#core/errors.ts';
import { newSandboxId } from '#core/ids.ts';
import type { Child } from '#linux/ports/kernel.ts';
import type { PortMapping } from '#pod-sandbox/index.ts';
import { chainsOf } from '#pod-sandbox/network/bridge/nat-rules.ts';
import { BridgeFixture, type Pod } from './bridge-fixture.ts';

const BRIDGE = 'faults0';
let fixture: BridgeFixture;
let dataDir: string;
before(async () => {
  fixture = await BridgeFixture.make();
  dataDir = join(fixture.directory, 'ipam');
});
after(() => fixture[Symbol.asyncDispose]());

const both = { ranges: [[{ subnet: '10.88.0.0/24' }], [{ subnet: 'fd00:88::/64' }]] };
const port = (changes: Partial<PortMapping> = {}): PortMapping => ({
  protocol: 'tcp',
  hostPort: 7777,
  containerPort: 80,
  hostIp: '',
  ...changes,
});

function conflist(ipam: object = both, bridge: object = {}): object {
  const first = { type: 'bridge', bridge: BRIDGE, isGateway: true, ipMasq: true, ...bridge };
  const routes = [{ dst: '0.0.0.0/0' }];
  const plugins = [
    { ...first, ipam: { type: 'host-local', dataDir, ...ipam, routes } },
    { type: 'portmap', capabilities: { portMappings: true } },
  ];
  return { cniVersion: '1.0.0', name: 'faults', plugins };
}

/** Links of pods, addresses in use, and rules of pods. */
async function leftovers(): Promise<string[]> {
  const links = (await fixture.run('ip', '-o', 'link', 'show', 'type', 'veth')).split('\n').filter(Boolean);
  const files = (await readdir(join(dataDir, 'faults')).catch(() => [])).filter((name) =>
    /[.:]\d/.test(name),
  );
  const saved = (await fixture.run('iptables-save')) + (await fixture.run('ip6tables-save'));
  const rules = saved.split('\n').filter((line) => /CNI-(DN-)?[0-9a-f]{20}/.test(line));
  return [...links, ...files.filter((name) => !name.startsWith('last_')), ...rules];
}

async function refused(
  pod: Omit<Pod, 'attachment'>,
  list: object,
  code: CrispError['code'],
  ...words: string[]
) {
  const planned = fixture.plan('native', list, pod.id, [port()]);
  await assert.rejects(
    fixture.cni.attach(pod.id, planned, pod.netns, fixture.operation()),
    (error: unknown) => {
      assert.ok(error instanceof CrispError, String(error));
      assert.equal(error.code, code, error.message);
      for (const word of words) assert.ok(error.message.includes(word), `${error.message} lacks ${word}`);
      return true;
    },
  );
  await fixture.remove('native', { ...pod, attachment: planned });
}

async function emptyPod(): Promise<Omit<Pod, 'attachment'>> {
  const id = newSandboxId();
  return { id, netns: await fixture.namespace(id) };
}

test('a bridge with another address, and a link that is not a bridge', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await fixture.run('sh', '-c', `ip link add ${BRIDGE} type bridge && ip addr add 10.9.9.1/24 dev ${BRIDGE}`);
  await refused(await emptyPod(), conflist(), 'NetworkFailed', BRIDGE, '10.9.9.1/24', '10.88.0.1/24');
  assert.deepEqual(await leftovers(), []);
  await fixture.run('sh', '-c', `ip link delete ${BRIDGE} && ip link add ${BRIDGE} type ifb`);
  await refused(await emptyPod(), conflist(), 'NetworkFailed', BRIDGE, 'not a bridge');
  assert.deepEqual(await leftovers(), []);
});

test('a range without a free address, until one is released', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const one = { ranges: [[{ subnet: '10.88.0.0/24', rangeStart: '10.88.0.7', rangeEnd: '10.88.0.7' }]] };
  const first = await fixture.add('native', conflist(one));
  assert.deepEqual(first.attachment.ips, ['10.88.0.7']);
  await refused(await emptyPod(), conflist(one), 'ResourceExhausted', '10.88.0.7', dataDir);
  await fixture.remove('native', first);
  const second = await fixture.add('native', conflist(one));
  assert.deepEqual(second.attachment.ips, ['10.88.0.7']);
  await fixture.remove('native', second);
  assert.deepEqual(await leftovers(), []);
});

test('a pod that has the link already', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const pod = await emptyPod();
  await fixture.run('nsenter', `--net=${pod.netns}`, 'ip', 'link', 'add', 'eth0', 'type', 'ifb');
  await refused(pod, conflist(), 'NetworkFailed', 'eth0 already');
  assert.deepEqual(await leftovers(), []);
});

test('a lock that another program holds ends the wait at the deadline or the cancel, and takes nothing', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await mkdir(join(dataDir, 'faults'), { recursive: true });
  await using _holder = await fixture.child(
    'flock',
    join(dataDir, 'faults/lock'),
    'sh',
    '-c',
    'echo held; cat',
  );
  const pod = await emptyPod();
  const planned = fixture.plan('native', conflist(), pod.id, []);
  const short = fixture.limited(200);
  await assert.rejects(
    short.attach(pod.id, planned, pod.netns, fixture.operation()),
    /CNI addresses: no end/,
  );
  const client = new AbortController();
  const cancelled = fixture.cni.attach(pod.id, planned, pod.netns, fixture.operation(client.signal));
  setTimeout(() => client.abort(), 50);
  await assert.rejects(cancelled, /cancelled by the client/);
  await _holder[Symbol.asyncDispose]();
  await fixture.remove('native', { ...pod, attachment: planned });
  assert.deepEqual(await leftovers(), []);
});

test('an iptables that fails, and one that hangs', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const bin = join(fixture.directory, 'bin');
  await mkdir(bin);
  for (const [script, expected] of [
    ['echo no such table >&2; exit 3', /iptables could not write the IPv[46] rules.*no such table/],
    ['exec sleep 30', /CNI rules: no end/],
  ] as const) {
    for (const name of ['iptables', 'ip6tables', 'iptables-restore', 'ip6tables-restore']) {
      await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`);
      await chmod(join(bin, name), 0o755);
    }
    const pod = await emptyPod();
    const planned = fixture.plan('native', conflist(), pod.id, []);
    const path = `${bin}:${process.env['PATH']}`;
    await assert.rejects(
      fixture.limited(1_500, path).attach(pod.id, planned, pod.netns, fixture.operation()),
      expected,
    );
    await fixture.remove('native', { ...pod, attachment: planned });
    assert.deepEqual(await leftovers(), []);
  }
});

for (const ports of [[port()], []]) {
  test(`DEL of an incomplete ADD, of what others removed, and of a gone pod, ports: ${ports.length}`, async () => {
    await using _ = fixture.network(BRIDGE, dataDir);
    await fixture.others();
    const made = async () => fixture.add('native', conflist(), newSandboxId(), ports);
    await fixture.remove('native', await made()); // from now on it is known how iptables writes
    const { direct } = fixture;
    await fixture.remove('native', await made());
    assert.equal(fixture.direct - direct, ports.length > 0 ? 0 : 4);
    const unknown = await made();
    await fixture.remove('native', {
      ...unknown,
      attachment: { ...unknown.attachment, result: undefined, ips: [] },
    });
    assert.deepEqual(await leftovers(), []);
    const gone = await made();
    await fixture.run('nsenter', `--net=${gone.netns}`, 'ip', 'link', 'delete', 'eth0');
    await fixture.remove('native', { ...gone, netns: '' });
    assert.deepEqual(await leftovers(), []);
    const flushed = await made();
    await fixture.run('sh', '-c', 'iptables -t nat -F POSTROUTING; ip6tables -t nat -F; ip6tables -t nat -X');
    await fixture.remove('native', flushed);
    assert.deepEqual(await leftovers(), []);
    const [first, second] = [await made(), await made()];
    await fixture.remove('exec', first);
    await fixture.remove('native', first);
    await fixture.remove('native', second);
    assert.deepEqual(await leftovers(), []);
  });
}

test('a chain of the pod that an earlier attempt has left, and rules that another program rewrote', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await fixture.others();
  const pod = await fixture.add('native', conflist());
  const again = await emptyPod();
  const planned = fixture.plan('native', conflist(), again.id, []);
  const { masquerade } = chainsOf({ network: 'faults', id: again.id });
  await fixture.run(
    'sh',
    '-c',
    `iptables -t nat -N ${masquerade}; iptables -t nat -A ${masquerade} -j RETURN`,
  );
  const attachment = await fixture.cni.attach(again.id, planned, again.netns, fixture.operation());
  const chain = await fixture.run('iptables', '-t', 'nat', '-S', masquerade);
  assert.equal(chain.match(/^-A/gm)?.length, 2, chain);
  assert.ok(!chain.includes('RETURN'));
  // kube-proxy and others rewrite whole tables: handles change, rules stay.
  await fixture.run(
    'sh',
    '-c',
    'iptables-save -t nat > $0; iptables-restore < $0',
    join(fixture.directory, 'saved'),
  );
  await fixture.remove('native', { ...again, attachment });
  await fixture.remove('native', pod);
  assert.deepEqual(await leftovers(), []);
});

test('many at once get addresses of their own, and leave nothing', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const each = Array.from({ length: 12 }, (_, n) =>
    fixture.add('native', conflist(), newSandboxId(), [port({ hostPort: 7000 + n })]),
  );
  const pods = await Promise.all(each);
  const ips = new Set(pods.flatMap(({ attachment }) => attachment.ips));
  assert.equal(ips.size, 24);
  const listing = await fixture.run('iptables', '-t', 'nat', '-S');
  const shared = listing
    .split('\n')
    .filter((line) => line.startsWith('-A PREROUTING') || / -j CNI-HOSTPORT-MASQ$/.test(line));
  assert.equal(shared.length, 2, listing);
  await Promise.all(pods.map((pod) => fixture.remove('native', pod)));
  assert.deepEqual(await leftovers(), []);
});

/** A server inside the pod that answers each TCP connection and UDP datagram. */
const SERVER = `require('net').createServer((s) => s.end('answer')).listen(80, '0.0.0.0', () => {
  const udp = require('dgram').createSocket('udp4');
  udp.on('message', (m, from) => udp.send('answer', from.port, from.address));
  udp.bind(80, () => console.log('up'));
});`;

test('published ports reach the pod from localhost, also a UDP flow that is older than the pod', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await fixture.add('native', conflist(), newSandboxId(), [port({ hostPort: 7001 })]); // connections are tracked from now on
  await using client = createSocket('udp4').bind(0, '127.0.0.1');
  client.on('error', () => {}); // connection refused at first
  await once(client, 'listening');
  await new Promise((resolve) => client.send('too early', 7777, '127.0.0.1', resolve));
  const pod = await fixture.add('native', conflist(), newSandboxId(), [port(), port({ protocol: 'udp' })]);
  await using _server: Child & AsyncDisposable = await fixture.child(
    'nsenter',
    `--net=${pod.netns}`,
    process.execPath,
    '-e',
    SERVER,
  );
  const socket = connect(7777, '127.0.0.1');
  const [bytes] = await once(socket, 'data');
  assert.equal(String(bytes), 'answer');
  socket.destroy();
  const reply = once(client, 'message', { signal: AbortSignal.timeout(5_000) });
  client.send('again', 7777, '127.0.0.1');
  assert.equal(String((await reply)[0]), 'answer');
});
