/** The native network path when something stands in its way: it fails with a name, and its end leaves nothing. */
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
import { chainsOf } from '#pod-sandbox/network/bridge/masquerade.ts';
import { NativeStand, type Pod } from './native-stand.ts';

const BRIDGE = 'faults0';
let stand: NativeStand;
let dataDir: string;
before(async () => {
  stand = await NativeStand.make();
  dataDir = join(stand.directory, 'ipam');
});
after(() => stand[Symbol.asyncDispose]());

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
  const links = (await stand.run('ip', '-o', 'link', 'show', 'type', 'veth')).split('\n').filter(Boolean);
  const files = (await readdir(join(dataDir, 'faults')).catch(() => [])).filter((name) =>
    /[.:]\d/.test(name),
  );
  const saved = (await stand.run('iptables-save')) + (await stand.run('ip6tables-save'));
  const rules = saved.split('\n').filter((line) => /CNI-(DN-)?[0-9a-f]{20}/.test(line));
  return [...links, ...files.filter((name) => !name.startsWith('last_')), ...rules];
}

async function refused(
  pod: Omit<Pod, 'attachment'>,
  list: object,
  code: CrispError['code'],
  ...words: string[]
) {
  const planned = stand.plan('native', list, pod.id, [port()]);
  await assert.rejects(stand.cni.attach(pod.id, planned, pod.netns, stand.operation()), (error: unknown) => {
    assert.ok(error instanceof CrispError, String(error));
    assert.equal(error.code, code, error.message);
    for (const word of words) assert.ok(error.message.includes(word), `${error.message} lacks ${word}`);
    return true;
  });
  await stand.remove('native', { ...pod, attachment: planned });
}

async function emptyPod(): Promise<Omit<Pod, 'attachment'>> {
  const id = newSandboxId();
  return { id, netns: await stand.namespace(id) };
}

test('a bridge with another address, and a link that is no bridge', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  await stand.run('sh', '-c', `ip link add ${BRIDGE} type bridge && ip addr add 10.9.9.1/24 dev ${BRIDGE}`);
  await refused(await emptyPod(), conflist(), 'NetworkFailed', BRIDGE, '10.9.9.1/24', '10.88.0.1/24');
  assert.deepEqual(await leftovers(), []);
  await stand.run('sh', '-c', `ip link delete ${BRIDGE} && ip link add ${BRIDGE} type ifb`);
  await refused(await emptyPod(), conflist(), 'NetworkFailed', BRIDGE, 'no bridge');
  assert.deepEqual(await leftovers(), []);
});

test('a range without a free address, until one is given back', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  const one = { ranges: [[{ subnet: '10.88.0.0/24', rangeStart: '10.88.0.7', rangeEnd: '10.88.0.7' }]] };
  const first = await stand.add('native', conflist(one));
  assert.deepEqual(first.attachment.ips, ['10.88.0.7']);
  await refused(await emptyPod(), conflist(one), 'ResourceExhausted', '10.88.0.7', dataDir);
  await stand.remove('native', first);
  const second = await stand.add('native', conflist(one));
  assert.deepEqual(second.attachment.ips, ['10.88.0.7']);
  await stand.remove('native', second);
  assert.deepEqual(await leftovers(), []);
});

test('a pod that has the link already', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  const pod = await emptyPod();
  await stand.run('nsenter', `--net=${pod.netns}`, 'ip', 'link', 'add', 'eth0', 'type', 'ifb');
  await refused(pod, conflist(), 'NetworkFailed', 'eth0 already');
  assert.deepEqual(await leftovers(), []);
});

test('a lock that another program holds ends the wait at the deadline or the cancel, and takes nothing', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  await mkdir(join(dataDir, 'faults'), { recursive: true });
  await using _holder = await stand.child(
    'flock',
    join(dataDir, 'faults/lock'),
    'sh',
    '-c',
    'echo held; cat',
  );
  const pod = await emptyPod();
  const planned = stand.plan('native', conflist(), pod.id, []);
  const short = stand.limited(200);
  await assert.rejects(short.attach(pod.id, planned, pod.netns, stand.operation()), /CNI addresses: no end/);
  const client = new AbortController();
  const cancelled = stand.cni.attach(pod.id, planned, pod.netns, stand.operation(client.signal));
  setTimeout(() => client.abort(), 50);
  await assert.rejects(cancelled, /cancelled by the client/);
  await _holder[Symbol.asyncDispose]();
  await stand.remove('native', { ...pod, attachment: planned });
  assert.deepEqual(await leftovers(), []);
});

test('an iptables that fails, and one that hangs', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  const bin = join(stand.directory, 'bin');
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
    const planned = stand.plan('native', conflist(), pod.id, []);
    const path = `${bin}:${process.env['PATH']}`;
    await assert.rejects(
      stand.limited(1_500, path).attach(pod.id, planned, pod.netns, stand.operation()),
      expected,
    );
    await stand.remove('native', { ...pod, attachment: planned });
    assert.deepEqual(await leftovers(), []);
  }
});

for (const ports of [[port()], []]) {
  test(`the end of what is half-made, of what others took away, and of a gone pod, ports: ${ports.length}`, async () => {
    await using _ = stand.network(BRIDGE, dataDir);
    await stand.others();
    const made = async () => stand.add('native', conflist(), newSandboxId(), ports);
    await stand.remove('native', await made()); // from now on it is known how iptables writes
    const { direct } = stand;
    await stand.remove('native', await made());
    assert.equal(stand.direct - direct, ports.length > 0 ? 0 : 4);
    const unknown = await made();
    await stand.remove('native', {
      ...unknown,
      attachment: { ...unknown.attachment, result: undefined, ips: [] },
    });
    assert.deepEqual(await leftovers(), []);
    const gone = await made();
    await stand.run('nsenter', `--net=${gone.netns}`, 'ip', 'link', 'delete', 'eth0');
    await stand.remove('native', { ...gone, netns: '' });
    assert.deepEqual(await leftovers(), []);
    const flushed = await made();
    await stand.run('sh', '-c', 'iptables -t nat -F POSTROUTING; ip6tables -t nat -F; ip6tables -t nat -X');
    await stand.remove('native', flushed);
    assert.deepEqual(await leftovers(), []);
    const [first, second] = [await made(), await made()];
    await stand.remove('exec', first);
    await stand.remove('native', first);
    await stand.remove('native', second);
    assert.deepEqual(await leftovers(), []);
  });
}

test('a chain of the pod that an earlier attempt has left, and rules that another program rewrote', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  await stand.others();
  const pod = await stand.add('native', conflist());
  const again = await emptyPod();
  const planned = stand.plan('native', conflist(), again.id, []);
  const { masquerade } = chainsOf({ network: 'faults', id: again.id });
  await stand.run('sh', '-c', `iptables -t nat -N ${masquerade}; iptables -t nat -A ${masquerade} -j RETURN`);
  const attachment = await stand.cni.attach(again.id, planned, again.netns, stand.operation());
  const chain = await stand.run('iptables', '-t', 'nat', '-S', masquerade);
  assert.equal(chain.match(/^-A/gm)?.length, 2, chain);
  assert.ok(!chain.includes('RETURN'));
  // kube-proxy and others write whole tables anew: handles change, rules stay.
  await stand.run(
    'sh',
    '-c',
    'iptables-save -t nat > $0; iptables-restore < $0',
    join(stand.directory, 'saved'),
  );
  await stand.remove('native', { ...again, attachment });
  await stand.remove('native', pod);
  assert.deepEqual(await leftovers(), []);
});

test('many at once get addresses of their own, and leave nothing', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  const each = Array.from({ length: 12 }, (_, n) =>
    stand.add('native', conflist(), newSandboxId(), [port({ hostPort: 7000 + n })]),
  );
  const pods = await Promise.all(each);
  const ips = new Set(pods.flatMap(({ attachment }) => attachment.ips));
  assert.equal(ips.size, 24);
  const listing = await stand.run('iptables', '-t', 'nat', '-S');
  const shared = listing
    .split('\n')
    .filter((line) => line.startsWith('-A PREROUTING') || / -j CNI-HOSTPORT-MASQ$/.test(line));
  assert.equal(shared.length, 2, listing);
  await Promise.all(pods.map((pod) => stand.remove('native', pod)));
  assert.deepEqual(await leftovers(), []);
});

/** A server inside the pod that answers each TCP connection and UDP datagram. */
const SERVER = `require('net').createServer((s) => s.end('answer')).listen(80, '0.0.0.0', () => {
  const udp = require('dgram').createSocket('udp4');
  udp.on('message', (m, from) => udp.send('answer', from.port, from.address));
  udp.bind(80, () => console.log('up'));
});`;

test('published ports reach the pod from localhost, also a UDP flow that is older than the pod', async () => {
  await using _ = stand.network(BRIDGE, dataDir);
  await stand.add('native', conflist(), newSandboxId(), [port({ hostPort: 7001 })]); // connections are tracked from now on
  await using client = createSocket('udp4').bind(0, '127.0.0.1');
  client.on('error', () => {}); // nobody listens yet
  await once(client, 'listening');
  await new Promise((resolve) => client.send('too early', 7777, '127.0.0.1', resolve));
  const pod = await stand.add('native', conflist(), newSandboxId(), [port(), port({ protocol: 'udp' })]);
  await using _server: Child & AsyncDisposable = await stand.child(
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
