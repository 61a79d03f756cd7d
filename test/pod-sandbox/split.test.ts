/** Lists of which crisp makes the first plugins itself and executes the others, and flannel's delegate: faults and their undo. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync } from 'node:fs';
import { copyFile, mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { after, before } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { newSandboxId } from '#core/ids.ts';
import { DBusConnection } from '#linux/systemd/dbus.ts';
import { AddTrace } from '#pod-sandbox/network/cni/failed-add.ts';
import { BridgeFixture } from './bridge-fixture.ts';

const BRIDGE = 'split0';
let fixture: BridgeFixture;
let dataDir: string;
before(async () => {
  fixture = await BridgeFixture.make();
  dataDir = join(fixture.directory, 'ipam');
});
after(() => fixture[Symbol.asyncDispose]());

const bridge = () => ({
  type: 'bridge',
  bridge: BRIDGE,
  isGateway: true,
  ipMasq: true,
  ipam: { type: 'host-local', dataDir, ranges: [[{ subnet: '10.89.0.0/24' }]] },
});
const flannel = () => ({
  type: 'flannel',
  subnetFile: join(fixture.directory, 'subnet.env'),
  dataDir: join(dataDir, 'flannel'),
  delegate: { bridge: BRIDGE, isDefaultGateway: true },
  ipam: { dataDir },
});
const list = (...plugins: readonly object[]) => ({ cniVersion: '1.0.0', name: 'split', plugins });

/** A plugin that records its calls and their input, and runs a script. */
async function tail(script: string): Promise<string> {
  const calls = join(fixture.directory, 'calls');
  await rm(calls, { force: true });
  const text = `#!/bin/sh\ninput=$(cat)\necho "$CNI_COMMAND $input" >> ${calls}\n${script}\n`;
  await writeFile(join(fixture.plugins, 'tail'), text, { mode: 0o755 });
  return calls;
}
const PASS = `[ $CNI_COMMAND != ADD ] || echo "$input" | sed 's/.*"prevResult"://; s/}$//'`;

async function calls(file: string): Promise<{ command: string; previous: unknown }[]> {
  const lines = (await readFile(file, 'utf8')).trim().split('\n');
  return lines.map((line) => {
    const [command = ''] = line.split(' ', 1);
    return { command, previous: JSON.parse(line.slice(command.length)).prevResult };
  });
}

/** Links of pods, addresses and delegates in use, and rules of pods. */
async function leftovers(): Promise<string[]> {
  const links = (await fixture.run('ip', '-o', 'link', 'show', 'type', 'veth')).split('\n').filter(Boolean);
  const files = (await readdir(dataDir, { recursive: true }).catch(() => [])).filter((name) =>
    /\/(\d+\.|[0-9a-f]{64})/.test(name),
  );
  const saved = await fixture.run('iptables-save');
  return [...links, ...files, ...saved.split('\n').filter((line) => /CNI-[0-9a-f]{20}/.test(line))];
}

/** ADD fails; its undo is run as the daemon runs it. */
async function failing(conflist: object, expected: RegExp): Promise<void> {
  const id = newSandboxId();
  const netns = await fixture.namespace(id);
  const planned = fixture.plan('native', conflist, id, []);
  const trace = new AddTrace();
  await assert.rejects(
    fixture.cni.attach(id, planned, netns, fixture.operation(), trace),
    (error: unknown) => {
      assert.ok(error instanceof CrispError && error.code === 'NetworkFailed', String(error));
      assert.match(error.message, expected);
      return true;
    },
  );
  const attachment = { ...planned, failedAdd: trace.progress };
  await fixture.remove('native', { id, netns, attachment });
}

test('the tail gets the result of the head, and DEL the result of the whole', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const file = await tail(PASS);
  const pod = await fixture.add('native', list(bridge(), { type: 'tail' }));
  assert.deepEqual(pod.attachment.head, { plugins: 1, ips: ['10.89.0.2'] });
  assert.deepEqual(pod.attachment.ips, ['10.89.0.2']);
  await fixture.cni.check(pod.id, pod.attachment, pod.netns, fixture.operation());
  await fixture.remove('native', pod);
  const { result } = pod.attachment;
  assert.deepEqual(await calls(file), [
    { command: 'ADD', previous: result },
    { command: 'CHECK', previous: result },
    { command: 'DEL', previous: result },
  ]);
  assert.deepEqual(await leftovers(), []);
});

test('an ADD that fails in the tail is undone in both parts', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const file = await tail(`[ $CNI_COMMAND = DEL ] || { echo '{"code": 7, "msg": "no route"}'; exit 1; }`);
  await failing(list(bridge(), { type: 'tail' }, { type: 'not-reached' }), /CNI plugin tail .*no route/);
  assert.deepEqual(
    (await calls(file)).map(({ command }) => command),
    ['ADD', 'DEL'],
  );
  assert.deepEqual(await leftovers(), []);
});

test('a DEL that fails in the tail keeps nothing of the head', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await tail(`[ $CNI_COMMAND = ADD ] || exit 1; ${PASS}`);
  const pod = await fixture.add('native', list(bridge(), { type: 'tail' }));
  await assert.rejects(fixture.remove('native', pod), /CNI plugin tail .*DEL: exit 1/);
  assert.deepEqual(await leftovers(), []);
});

test('a result of the tail that hides the address of the head does not lose it', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await tail(`[ $CNI_COMMAND = DEL ] || echo '{"cniVersion":"1.0.0","ips":[{"address":"192.0.2.9/32"}]}'`);
  const pod = await fixture.add('native', list(bridge(), { type: 'tail' }));
  assert.deepEqual(pod.attachment.ips, ['192.0.2.9']);
  await fixture.remove('native', pod);
  assert.deepEqual(await leftovers(), []);
});

const tuning = (keys: object) => ({ type: 'tuning', dataDir: join(dataDir, 'tuning'), ...keys });
const SYSCTL = { 'net.ipv4.conf.IFNAME.rp_filter': '2' };

test('tuning that the kernel refuses is an error with its setting, and is undone', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  for (const [keys, expected] of [
    [{ mtu: 1400, sysctl: { 'net.ipv4.conf.IFNAME.none': '1' } }, /network split .*net\/?.*conf\/eth0\/none/],
    [{ mac: '01:00:00:00:00:01' }, /network split .*01:00:00:00:00:01/], // of a group
  ] as const) {
    await failing(list(bridge(), tuning(keys)), expected);
    assert.deepEqual([await leftovers(), await readdir(join(dataDir, 'tuning'))], [[], []]);
  }
});

test('what tuning has set is found, or not', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const pod = await fixture.add('native', list(bridge(), tuning({ mtu: 1400, sysctl: SYSCTL })));
  const check = () => fixture.cni.check(pod.id, pod.attachment, pod.netns, fixture.operation());
  await check();
  await fixture.run('nsenter', `--net=${pod.netns}`, 'ip', 'link', 'set', 'eth0', 'mtu', '1300');
  await assert.rejects(check(), /CHECK: its link eth0 has MTU 1300, not 1400/);
  await fixture.remove('native', pod);
});

test('the sysctls that the node allows count; a list that only the plugin can read is left to it', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const { ipMasq: _m, ...plain } = bridge();
  const conflist = list(plain, tuning({ sysctl: SYSCTL }));
  // Of this file's own mount namespace: the plugins of this network need nothing of /etc.
  await fixture.kernel.mounts.tmpfs({ target: '/etc' });
  try {
    await mkdir('/etc/cni/tuning', { recursive: true });
    const allow = (line: string) => writeFile('/etc/cni/tuning/allowlist.conf', line);
    await allow('^net.ipv6');
    await failing(conflist, /allowlist\.conf does not allow sysctl net\.ipv4\.conf\.IFNAME\.rp_filter/);
    await allow('^net.ipv4.conf.IFNAME');
    const native = await fixture.add('native', conflist);
    await allow('(?i)^NET');
    const executed = await fixture.add('native', conflist);
    assert.deepEqual(
      [native, executed].map(({ attachment }) => attachment.head?.plugins),
      [undefined, 1],
    );
    for (const pod of [native, executed]) await fixture.remove('native', pod);
  } finally {
    await fixture.kernel.mounts.unmount('/etc');
  }
  assert.deepEqual(await leftovers(), []);
});

/** Resolves with whether crisp has made firewall itself, and not the program. */
async function makesFirewall(
  firewall: object,
  ...[path, bus]: readonly (string | undefined)[]
): Promise<boolean> {
  const { ipMasq: _m, ...plain } = bridge();
  const file = await tail(PASS);
  await copyFile(join(fixture.plugins, 'tail'), join(fixture.plugins, 'firewall'));
  const more = bus === undefined ? {} : { DBUS_SYSTEM_BUS_ADDRESS: bus };
  const cni = fixture.limited(60_000, path ?? process.env['PATH'], undefined, more);
  const id = newSandboxId();
  const netns = await fixture.namespace(id);
  const planned = fixture.plan('native', list(plain, { type: 'firewall', ...firewall }), id, []);
  const made = await cni.attach(id, planned, netns, fixture.operation());
  await cni.detach(id, made, netns, fixture.operation());
  await rm(join(fixture.plugins, 'firewall'));
  const executed = await calls(file).then(
    (all) => all.map(({ command }) => command),
    () => [],
  );
  assert.deepEqual(
    [made.head?.plugins, executed],
    executed.length > 0 ? [1, ['ADD', 'DEL']] : [undefined, []],
  );
  return executed.length === 0;
}

test('firewall is left to the plugin on a node without iptables, and where firewalld runs', async (t) => {
  await using _ = fixture.network(BRIDGE, dataDir);
  assert.equal(await makesFirewall({}, '/usr/bin'), false, 'no iptables');
  assert.equal(await makesFirewall({}), true);
  const socket = join(fixture.directory, 'bus');
  const daemon = spawn(
    'dbus-daemon',
    ['--session', `--address=unix:path=${socket}`, '--nofork', '--nopidfile'],
    {
      stdio: 'ignore',
    },
  );
  const ended = once(daemon, 'exit');
  t.after(() => {
    daemon.kill();
    return ended;
  });
  while (!existsSync(socket)) await sleep(20);
  const address = `unix:path=${socket}`;
  assert.equal(await makesFirewall({}, undefined, address), true, 'a bus without firewalld');
  using bus = await DBusConnection.open(
    socket,
    { signal: () => {}, close: () => {} },
    AbortSignal.timeout(60_000),
  );
  const method = {
    destination: 'org.freedesktop.DBus',
    path: '/org/freedesktop/DBus',
    interface: 'org.freedesktop.DBus',
  };
  const body = ['org.fedoraproject.FirewallD1', 4];
  await bus.call({ ...method, member: 'RequestName', signature: 'su', body }, AbortSignal.timeout(60_000));
  assert.equal(await makesFirewall({}, undefined, address), false, 'firewalld');
  assert.equal(
    await makesFirewall({ backend: 'iptables' }, undefined, address),
    true,
    'iptables whatever runs',
  );
  assert.equal(
    await makesFirewall({}, undefined, 'tcp:host=192.0.2.1'),
    false,
    'a bus that is not looked at',
  );
  assert.deepEqual(await leftovers(), []);
});

const ENV =
  'FLANNEL_NETWORK=10.89.0.0/16\nFLANNEL_SUBNET=10.89.7.1/24\nFLANNEL_MTU=1450\nFLANNEL_IPMASQ=false\n';

test('flannel that has not started, then has: the retry works', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  const { subnetFile } = flannel();
  await rm(subnetFile, { force: true });
  const path = subnetFile.replaceAll('.', '\\.');
  await failing(list(flannel()), new RegExp(`flannel .*open ${path}: no such file or directory`));
  await writeFile(subnetFile, 'FLANNEL_NETWORK=10.89.0.0/16\n');
  await failing(list(flannel()), /subnet\.env is missing FLANNEL_SUBNET, FLANNEL_IPV6_SUBNET, FLANNEL_MTU/);
  assert.deepEqual(await leftovers(), []);
  await writeFile(subnetFile, ENV);
  const pod = await fixture.add('native', list(flannel()));
  assert.deepEqual(pod.attachment.ips, ['10.89.7.2']);
  assert.equal((await leftovers()).filter((name) => name.startsWith('flannel/')).length, 1);
  await rm(subnetFile);
  await fixture.remove('native', pod);
  assert.deepEqual(await leftovers(), []);
});

test('an ADD of flannel that fails later leaves nothing', async () => {
  await using _ = fixture.network(BRIDGE, dataDir);
  await writeFile(flannel().subnetFile, ENV);
  await tail(`[ $CNI_COMMAND = DEL ] || exit 1`);
  await failing(list(flannel(), { type: 'tail' }), /CNI plugin tail/);
  assert.deepEqual(await leftovers(), []);
});
