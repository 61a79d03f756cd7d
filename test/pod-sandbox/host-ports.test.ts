/** Host ports and masquerade behave the same, whether iptables has written the rules or crisp itself, and leave nothing. */
import assert from 'node:assert/strict';
import { createSocket } from 'node:dgram';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { mkdir, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import { newSandboxId, type SandboxId } from '#core/ids.ts';
import { formatIp, parseIp } from '#linux/net/ip-address.ts';
import type { NatTables } from '#linux/ports/kernel.ts';
import type { PortMapping } from '#pod-sandbox/index.ts';
import type { Cni } from '#pod-sandbox/network/network.ts';
import { BridgeFixture, type Pod } from './bridge-fixture.ts';
import { reachable, serve } from './host-port-clients.ts';

const BRIDGE = 'ports0';
const LIMIT = 60_000;
let fixture: BridgeFixture;
let dataDir: string;
/** A node without iptables. */
let without: Cni;
before(async () => {
  fixture = await BridgeFixture.make();
  dataDir = join(fixture.directory, 'ipam');
  without = fixture.limited(LIMIT, '/nonexistent');
});
after(() => fixture[Symbol.asyncDispose]());

const port = (changes: Partial<PortMapping> = {}): PortMapping => ({
  protocol: 'tcp',
  hostPort: 7777,
  containerPort: 80,
  hostIp: '',
  ...changes,
});

function conflist(bridge: object = {}, portmap: object = {}): object {
  const ipam = {
    type: 'host-local',
    dataDir,
    ranges: [[{ subnet: '10.89.0.0/24' }], [{ subnet: 'fd00:89::/64' }]],
    routes: [{ dst: '0.0.0.0/0' }, { dst: '::/0' }],
  };
  const plugins = [
    { type: 'bridge', bridge: BRIDGE, isGateway: true, ipMasq: true, hairpinMode: true, ...bridge, ipam },
    { type: 'portmap', capabilities: { portMappings: true }, ...portmap },
  ];
  return { cniVersion: '1.0.0', name: 'ports', plugins };
}

async function add(cni: Cni, ports: readonly PortMapping[] = [], list = conflist()): Promise<Pod> {
  const id = newSandboxId();
  const netns = await fixture.namespace(id);
  const attachment = await cni.attach(
    id,
    fixture.plan('native', list, id, ports),
    netns,
    fixture.operation(),
  );
  return { id, netns, attachment };
}

const remove = (cni: Cni, { id, netns, attachment }: Pod) =>
  cni.detach(id, attachment, netns, fixture.operation());

const ruleset = () => fixture.run('nft', 'list', 'ruleset');
/** Whether rules name the pod, or lead to its address. */
async function rulesOf({ id, attachment }: Pod): Promise<string[]> {
  const words = [id, ...attachment.ips];
  return (await ruleset()).split('\n').filter((line) => words.some((word) => line.includes(word)));
}

/** A client outside of the node, behind a link with two addresses of the node in each family. */
async function outside(): Promise<string> {
  const netns = await fixture.namespace('outside' as SandboxId);
  const inside = `nsenter --net=${netns} ip`;
  await fixture.run(
    'sh',
    '-ec',
    `ip link add up0 type veth peer name down0
     ip link set down0 netns ${netns}
     for a in 192.0.2.1/24 192.0.2.7/24 fd00:2::1/64 fd00:2::7/64; do ip addr add $a dev up0 nodad; done
     ip link set up0 up
     ${inside} addr add 192.0.2.99/24 dev down0; ${inside} addr add fd00:2::99/64 dev down0 nodad
     ${inside} link set down0 up; ${inside} link set lo up
     ${inside} route add default via 192.0.2.1; ${inside} -6 route add default via fd00:2::1`,
  );
  return netns;
}

const PUBLISHED: readonly PortMapping[] = [
  port(),
  port({ protocol: 'udp' }),
  port({ hostPort: 7001, hostIp: '192.0.2.7' }),
  port({ hostPort: 7002, hostIp: 'fd00:2::7' }),
  port({ hostPort: 7003, hostIp: '127.0.0.1' }),
  port({ hostPort: 7004, protocol: 'udp', hostIp: '0.0.0.0' }),
  port({ hostPort: 7005, protocol: 'udp', hostIp: '::' }),
];
/** Port 7009 is not published. */
const TARGETS = ['127.0.0.1', '192.0.2.1', '192.0.2.7', 'fd00:2::1', 'fd00:2::7'].flatMap((host) =>
  [7777, 7001, 7002, 7003, 7004, 7005, 7009].flatMap((number) =>
    (['tcp', 'udp'] as const).map((protocol) => ({ protocol, host, port: number })),
  ),
);

/** Who reaches what, by which address the server sees them. */
async function behaviour(cni: Cni): Promise<Record<string, Record<string, string>>> {
  await using made = fixture.network(BRIDGE, dataDir);
  const client = await outside();
  try {
    const pod = await add(cni, PUBLISHED);
    const neighbour = await add(cni);
    made.pods.push(pod, neighbour);
    const external = '192.0.2.99';
    await using _pod = await serve(fixture, pod.netns, 80);
    await using _external = await serve(fixture, client, 80);
    const from = (netns: string | undefined) => reachable(fixture, netns, TARGETS);
    const found = {
      outside: await from(client),
      node: await from(undefined),
      pod: await from(pod.netns),
      neighbour: await from(neighbour.netns),
      'out to the world': await reachable(fixture, pod.netns, [
        { protocol: 'tcp', host: external, port: 80 },
        { protocol: 'tcp', host: 'fd00:2::99', port: 80 },
        { protocol: 'udp', host: external, port: 80 },
      ]),
      'pod to pod': await reachable(fixture, neighbour.netns, [
        { protocol: 'tcp', host: pod.attachment.ips[0] ?? '', port: 80 },
        { protocol: 'udp', host: pod.attachment.ips[1] ?? '', port: 80 },
      ]),
    };
    for (const one of [pod, neighbour]) {
      await remove(cni, one);
      assert.deepEqual(await rulesOf(one), []);
    }
    return found;
  } finally {
    await fixture.run('ip', 'link', 'delete', 'up0');
  }
}

test('from outside, from the node, from the pod and its neighbours: the same with and without iptables', async () => {
  const expected = await behaviour(fixture.cni);
  const found = await behaviour(without);
  assert.deepEqual(found, expected);
  // And it is as portmap promises, not just equally wrong.
  const { outside: o, node, pod, neighbour, 'out to the world': world } = found;
  assert.equal(o?.['tcp 192.0.2.1 7777'], '192.0.2.99');
  assert.equal(o?.['udp fd00:2::1 7777'], 'fd00:2::99');
  assert.equal(o?.['tcp 192.0.2.7 7001'], '192.0.2.99');
  assert.equal(o?.['tcp 192.0.2.1 7001'], 'none');
  assert.equal(o?.['tcp fd00:2::7 7002'], 'fd00:2::99');
  assert.equal(o?.['tcp 192.0.2.1 7009'], 'none');
  assert.equal(node?.['tcp 127.0.0.1 7777'], '10.89.0.1');
  assert.equal(node?.['udp 127.0.0.1 7777'], '10.89.0.1');
  assert.equal(node?.['tcp 127.0.0.1 7003'], '10.89.0.1');
  assert.notEqual(node?.['tcp fd00:2::1 7777'], 'none');
  assert.equal(pod?.['tcp 192.0.2.1 7777'], '10.89.0.1');
  assert.equal(pod?.['tcp fd00:2::1 7777'], 'fd00:89::1');
  assert.equal(neighbour?.['udp 192.0.2.1 7004'], '10.89.0.1');
  assert.equal(neighbour?.['tcp fd00:2::1 7777'], 'fd00:89::1');
  assert.equal(world?.['tcp 192.0.2.99 80'], '192.0.2.1');
  assert.notEqual(world?.['tcp fd00:2::99 80'], 'none');
  assert.equal(found['pod to pod']?.['tcp 10.89.0.2 80'], '10.89.0.3');
});

test('nothing of a pod is left, and what is shared is as it was', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await remove(without, await add(without, PUBLISHED));
  const shared = await ruleset();
  assert.match(shared, /table ip cni_hostport/);
  const pods = await Promise.all(Array.from({ length: 8 }, () => add(without, PUBLISHED)));
  await Promise.all(pods.map((pod) => remove(without, pod)));
  await remove(without, pods[0] as Pod);
  assert.equal(await ruleset(), shared);
});

test('iptables may appear or go between ADD and DEL: what either has written goes', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  for (const ports of [PUBLISHED, []]) {
    const written = await add(without, ports);
    assert.deepEqual(written.attachment.ruleBackends, ['nftables']);
    assert.notDeepEqual(await rulesOf(written), []);
    await remove(fixture.cni, written);
    assert.deepEqual(await rulesOf(written), []);
    const before = await add(fixture.cni, ports);
    assert.deepEqual(before.attachment.ruleBackends, ['iptables']);
    await remove(without, before);
    assert.deepEqual(await rulesOf(before), []);
    const unknown = await add(fixture.cni, ports);
    const { ruleBackends: _recorded, ...attachment } = unknown.attachment;
    await remove(without, { ...unknown, attachment: { ...attachment, result: undefined, ips: [] } });
    assert.deepEqual(await rulesOf(unknown), []);
  }
});

test('backend and ipMasqBackend of the CNI configuration are respected', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const only = await add(
    fixture.cni,
    PUBLISHED,
    conflist({ ipMasqBackend: 'nftables' }, { backend: 'nftables' }),
  );
  assert.deepEqual(only.attachment.ruleBackends, ['nftables']);
  assert.doesNotMatch(await ruleset(), /CNI-/);
  const mixed = await add(fixture.cni, PUBLISHED, conflist({ ipMasqBackend: 'nftables' }));
  assert.deepEqual([...(mixed.attachment.ruleBackends ?? [])].sort(), ['iptables', 'nftables']);
  assert.match(await fixture.run('iptables-save', '-t', 'nat'), /CNI-DN-/);
  for (const pod of [only, mixed]) await remove(fixture.cni, pod);
  assert.deepEqual([await rulesOf(only), await rulesOf(mixed)], [[], []]);
  const id = newSandboxId();
  const planned = fixture.plan('native', conflist({}, { backend: 'iptables' }), id, PUBLISHED);
  const netns = await fixture.namespace(id);
  await assert.rejects(
    without.attach(id, planned, netns, fixture.operation()),
    (error) =>
      hasCode(error, 'NetworkFailed') && /iptables-restore is not in \/nonexistent/.test(error.message),
  );
  assert.equal(await fixture.run('sh', '-c', `ls ${dataDir}/ports | grep '^10' || true`), '');
});

/** The programs of iptables, each as this script. */
async function iptables(script: string): Promise<string> {
  const bin = join(fixture.directory, `bin-${newSandboxId()}`);
  await mkdir(bin);
  for (const name of ['iptables', 'ip6tables', 'iptables-restore', 'ip6tables-restore'])
    await writeFile(join(bin, name), `#!/bin/sh\n${script}\n`, { mode: 0o755 });
  return bin;
}

test('an iptables whose part of the kernel is missing', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const bin = await iptables(
    `echo "iptables v1.8.9 (legacy): can't initialize iptables table 'nat': Table does not exist (do you need to insmod?)" >&2; exit 3`,
  );
  const cni = fixture.limited(LIMIT, `${bin}:/bin:/usr/bin`);
  const pod = await add(cni, PUBLISHED);
  assert.deepEqual(pod.attachment.ruleBackends, ['nftables']);
  await remove(cni, pod);
  assert.deepEqual(await rulesOf(pod), []);
});

test('a kernel without IPv6 or nf_tables: an error that names both before anything is made', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const before = await ruleset();
  const refused = async (cni: Cni, wanted: RegExp, hint: RegExp) => {
    const id = newSandboxId();
    const planned = fixture.plan('native', conflist(), id, PUBLISHED);
    const netns = await fixture.namespace(id);
    await assert.rejects(
      cni.attach(id, planned, netns, fixture.operation()),
      (error) => hasCode(error, 'NetworkFailed') && wanted.test(error.message) && hint.test(error.hint),
    );
    assert.equal(await ruleset(), before);
    assert.equal(existsSync(dataDir), false);
    assert.doesNotMatch(await fixture.run('ip', '-o', 'link'), new RegExp(`${BRIDGE}|veth`));
    await cni.detach(id, planned, netns, fixture.operation());
  };
  const lacking: NatTables = {
    ...fixture.kernel.nat.tables,
    check: async () => {
      throw new CrispError('FailedPrecondition', 'the kernel lacks masquerade', {
        hint: 'modprobe nft_masq',
      });
    },
    erase: async () => false,
  };
  await refused(
    fixture.limited(LIMIT, '/nonexistent', lacking),
    /network ports .*lacks masquerade/,
    /modprobe/,
  );
  const { mounts } = fixture.kernel;
  await mounts.tmpfs({ target: '/proc/sys/net/ipv6' });
  try {
    await refused(without, /network ports .*the kernel has no IPv6/, /ipv6\.disable/);
  } finally {
    await mounts.unmount('/proc/sys/net/ipv6');
  }
});

test('a UDP flow ends with its pod, and goes on with the pod that comes after', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await using client = createSocket('udp4').bind(0, '127.0.0.1');
  client.on('error', () => {});
  await once(client, 'listening');
  const flows = async () =>
    (await fixture.run('cat', '/proc/self/net/nf_conntrack'))
      .split('\n')
      .filter((line) => /udp .*dport=7777 /.test(line));
  for (let pods = 0; pods < 2; pods++) {
    const pod = await add(without, [port({ protocol: 'udp' })]);
    await using _server = await serve(fixture, pod.netns, 80);
    const reply = once(client, 'message', { signal: AbortSignal.timeout(10_000) });
    client.send('x', 7777, '127.0.0.1');
    assert.equal(String((await reply)[0]), '10.89.0.1');
    assert.equal((await flows()).length, 1);
    await remove(without, pod);
    assert.deepEqual(await flows(), []);
  }
});

test('of UDP flows to a published port those to an address of the node end, and no others', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const pod = await add(without); // whose rules have the kernel track connections
  const [published, other] = [7787, 7788];
  const targets = [
    ['127.0.0.1', published],
    ['10.89.0.1', published],
    ['10.89.0.200', published],
    ['10.89.0.1', other],
    ['::1', published],
    ['fd00:89::1', published],
    ['fd00:89::c8', published],
  ] as const;
  const key = (host: string, port: number) => `${host} ${port}`;
  for (const [host, port] of targets) {
    await using socket = createSocket(host.includes(':') ? 'udp6' : 'udp4');
    socket.on('error', () => {}); // nobody listens
    const sent = Promise.withResolvers<void>();
    socket.send('x', port, host, () => sent.resolve());
    await sent.promise;
  }
  const flows = async () =>
    (await fixture.run('cat', '/proc/self/net/nf_conntrack'))
      .split('\n')
      .map((line) => /^\S+ +\d+ udp .*? dst=(\S+) sport=\d+ dport=(778[78]) /.exec(line))
      .filter((found) => found !== null)
      .map(([, host = '', port]) => key(formatIp(parseIp(host) ?? assert.fail(host)), Number(port)))
      .sort();
  assert.deepEqual(await flows(), targets.map(([host, port]) => key(host, port)).sort());
  await fixture.kernel.links.forgetUdp({ families: [4, 6], ports: [published], pods: [] });
  const kept = [key('10.89.0.200', published), key('10.89.0.1', other), key('fd00:89::c8', published)];
  assert.deepEqual(await flows(), kept.sort());
  await remove(without, pod);
});
