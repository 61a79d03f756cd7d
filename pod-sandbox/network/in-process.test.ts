import assert from 'node:assert/strict';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { sampleConfig } from '#test/fixtures/sandbox-config.ts';
import { parseNetworkConfig } from './cni/conflist.ts';
import { forgetHead, splitForAdd, splitForDelete, withHead } from './in-process.ts';
import { planAttachment } from './request.ts';

const IPAM = { type: 'host-local', ranges: [[{ subnet: '10.1.0.0/24' }]] };
const BRIDGE = { type: 'bridge', ipam: IPAM };
const PORTMAP = { type: 'portmap', capabilities: { portMappings: true } };
const UNKNOWN = { type: 'cilium-cni' };
const id = newSandboxId();
const limit = {
  op: new Operation('test'),
  limit: 30_000,
  forwarding: { isAvailable: async () => true },
};

function plan(plugins: readonly object[], mode: 'auto' | 'exec' = 'auto') {
  const config = parseNetworkConfig(
    '/x.conflist',
    JSON.stringify({ cniVersion: '1.0.0', name: 'x', plugins }),
  );
  return planAttachment(config, { id, config: sampleConfig(), cgroup: '/x' }, mode);
}

test('the list is made in-process as far as all of its plugins are known', async () => {
  const split = async (plugins: readonly object[], mode: 'auto' | 'exec' = 'auto') => {
    const planned = plan(plugins, mode);
    const { head, tail } = await splitForAdd(id, planned, limit);
    const again = await splitForDelete(id, planned, limit);
    assert.deepEqual([again.head?.config, again.tail], [head?.config, tail]);
    return [planned.way, planned.head?.plugins, head?.config.plugins.length ?? 0, tail.length];
  };
  assert.deepEqual(await split([BRIDGE, PORTMAP]), ['native', undefined, 2, 0]);
  // As podman has it.
  assert.deepEqual(await split([BRIDGE, PORTMAP, { type: 'firewall' }, { type: 'tuning' }]), [
    'native',
    undefined,
    4,
    0,
  ]);
  assert.deepEqual(await split([BRIDGE, PORTMAP, UNKNOWN]), ['native', 2, 2, 1]);
  assert.deepEqual(await split([BRIDGE, UNKNOWN, PORTMAP]), ['native', 1, 1, 2]);
  assert.deepEqual(await split([{ type: 'loopback' }, BRIDGE, UNKNOWN]), ['native', 2, 2, 1]);
  assert.deepEqual(await split([UNKNOWN, BRIDGE]), [undefined, undefined, 0, 2]);
  assert.deepEqual(await split([{ type: 'loopback' }, UNKNOWN]), [undefined, undefined, 0, 2]);
  assert.deepEqual(await split([BRIDGE, PORTMAP, UNKNOWN], 'exec'), [undefined, undefined, 0, 3]);
});

test('firewall is made in-process only where the plugin would use iptables', async () => {
  const planned = plan([BRIDGE, { type: 'firewall' }, PORTMAP]);
  assert.deepEqual([planned.way, planned.head], ['native', undefined]);
  const split = async (isOurs: boolean) => {
    const asked: object[] = [];
    const isAvailable = async (firewall: object) => asked.push(firewall) > 0 && isOurs;
    const { head, tail } = await splitForAdd(id, planned, { ...limit, forwarding: { isAvailable } });
    assert.equal(asked.length, 1);
    const made = head && withHead(planned, head);
    return [head?.config.plugins.length, tail.map(({ type }) => type), made?.head?.plugins];
  };
  assert.deepEqual(await split(true), [3, [], undefined]);
  assert.deepEqual(await split(false), [1, ['firewall', 'portmap'], 1]);
});

test('a failed ADD whose program was started is undone by programs from there on', async () => {
  const planned = plan([BRIDGE, PORTMAP, { type: 'firewall' }, { type: 'tuning' }]);
  const failed = (...begun: string[]) => ({ ...planned, failedAdd: { begun, refused: [] } });
  const split = async (attachment: typeof planned) => {
    const { head, tail } = await splitForDelete(id, attachment, limit);
    return [head?.config.plugins.length, tail.map(({ type }) => type)];
  };
  assert.deepEqual(await split(failed('rules of IPv4')), [4, []]);
  assert.deepEqual(await split(failed('rules of IPv4', '2')), [2, ['firewall', 'tuning']]);
});

test('older records stay valid: native without a head is the whole list', async () => {
  const { head: _, ...older } = plan([BRIDGE, PORTMAP]);
  assert.equal((await splitForDelete(id, older, limit)).head?.config.plugins.length, 2);
  // One of a list that this version does not know as a whole is undone by the plugins.
  const { head: _h, ...unknown } = plan([BRIDGE, UNKNOWN]);
  assert.deepEqual(await splitForDelete(id, unknown, limit), {
    head: undefined,
    tail: unknown.config.plugins,
  });
});

test("the head's own addresses are kept, whatever the plugins after it report", async () => {
  const planned = plan([BRIDGE, UNKNOWN]);
  const { head } = await splitForAdd(id, planned, limit);
  assert.ok(head);
  const made = { ...withHead(planned, { ...head, ips: ['10.1.0.7'] }), ips: ['192.0.2.1'] };
  assert.deepEqual(made.head, { plugins: 1, ips: ['10.1.0.7'] });
  assert.deepEqual((await splitForDelete(id, made, limit)).head?.ips, ['10.1.0.7']);
});

async function flannel(t: TestContext, changes: object = {}) {
  const directory = await mkdtemp(join(tmpdir(), 'crisp-flannel-'));
  t.after(() => rm(directory, { recursive: true }));
  const subnetFile = join(directory, 'subnet.env');
  const dataDir = join(directory, 'flannel');
  const planned = plan([{ type: 'flannel', subnetFile, dataDir, ...changes }, PORTMAP, UNKNOWN]);
  const env = (mtu: number) =>
    `FLANNEL_NETWORK=10.1.0.0/16\nFLANNEL_SUBNET=10.1.7.1/24\nFLANNEL_MTU=${mtu}\nFLANNEL_IPMASQ=true\n`;
  return {
    planned,
    kept: join(dataDir, id),
    subnetFile,
    write: (mtu: number) => writeFile(subnetFile, env(mtu)),
  };
}

test("flannel's delegate is kept before it has any effect, and is what DEL undoes", async (t) => {
  const { planned, kept, subnetFile, write } = await flannel(t);
  assert.deepEqual([planned.way, planned.head?.plugins], ['native', 2]);
  await write(1450);
  const { head, tail } = await splitForAdd(id, planned, limit);
  assert.ok(head);
  assert.deepEqual(
    [head.config.plugins.map(({ type }) => type), tail.map(({ type }) => type)],
    [['bridge', 'portmap'], ['cilium-cni']],
  );
  assert.deepEqual(JSON.parse(await readFile(kept, 'utf8')), head.delegate);
  await write(1300);
  // By the file of the plugin after a crash, by the record after a success.
  assert.deepEqual((await splitForDelete(id, planned, limit)).head?.config, head.config);
  await rm(kept);
  const made = withHead(planned, head);
  assert.deepEqual((await splitForDelete(id, made, limit)).head?.config, head.config);
  await forgetHead(id, made); // a missing file is success
  // Without both what others may have made of the present subnet is searched for.
  for (const text of [undefined, '{"type":"bri']) {
    if (text !== undefined) await writeFile(kept, text);
    const lost = (await splitForDelete(id, planned, limit)).head;
    assert.deepEqual(lost?.config.plugins[0], { ...head.delegate, mtu: 1300 });
  }
  await rm(subnetFile);
  assert.equal((await splitForDelete(id, planned, limit)).head?.config.plugins[0]?.['ipMasq'], false);
  await forgetHead(id, planned);
  await assert.rejects(readFile(kept), { code: 'ENOENT' });
});

test('a node without flannel is an error that names the file; a subnet that crisp does not know is the plugin’s', async (t) => {
  const { planned, subnetFile, write } = await flannel(t);
  await assert.rejects(splitForAdd(id, planned, limit), (error: Error & { hint?: string }) => {
    assert.match(error.message, /CNI plugin flannel of network x .*failed to load flannel 'subnet.env' file/);
    assert.ok(error.message.endsWith(`open ${subnetFile}: no such file or directory`));
    assert.match(error.hint ?? '', /flannel's daemon/);
    return true;
  });
  await write(576);
  assert.deepEqual(await splitForAdd(id, planned, limit), { head: undefined, tail: planned.config.plugins });
  assert.equal((await flannel(t, { delegate: { type: 'macvlan' } })).planned.way, undefined);
  assert.equal((await flannel(t, { capabilities: { mac: true } })).planned.way, undefined);
});
