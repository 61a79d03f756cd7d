/** Several networks of a pod, networks of handlers, the main address, and host ports that are switched off. */
import assert from 'node:assert/strict';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { PodSandboxes, PodSandboxOptions } from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

type Network = PodSandboxOptions['network'];

const run = (
  service: PodSandboxes,
  fixture: PodsFixture,
  changes: object = {},
  runtimeHandler = '',
): Promise<SandboxId> =>
  service.run({ config: fixture.config(changes), runtimeHandler }, fixture.operation());

const settings = (fixture: PodsFixture, changes: Partial<Network>): Pick<PodSandboxOptions, 'network'> => ({
  network: { ...fixture.options.network, ...changes },
});

/** A plugin that notes its calls in one file, and gives the address in its configuration. */
const noting = ({ directory }: PodsFixture): string => `
config=$(cat)
value() { echo "$config" | sed -n "s/.*\\"$1\\":\\"\\([^\\"]*\\)\\".*/\\1/p"; }
name=$(value name)
echo "$CNI_COMMAND $name $CNI_IFNAME" >> ${directory}/calls
[ -e ${directory}/fail-$name-$CNI_COMMAND ] && { echo "$name fails" >&2; exit 1; }
[ $CNI_COMMAND = ADD ] || exit 0
ips=$(value ip)
echo "{\\"cniVersion\\":\\"1.0.0\\",\\"ips\\":[\${ips:+{\\"address\\":\\"$ips\\"\\}}]}"`;

async function networks(fixture: PodsFixture, ips: readonly (readonly [string, string])[]): Promise<void> {
  const { confDir } = fixture.options.network;
  await rm(join(confDir, '10-test.conflist'));
  await fixture.plugin('notes', noting(fixture));
  for (const [index, [name, ip]] of ips.entries()) {
    const list = { cniVersion: '1.0.0', name, plugins: [{ type: 'notes', ...(ip === '' ? {} : { ip }) }] };
    await writeFile(join(confDir, `${index + 1}0-${name}.conflist`), JSON.stringify(list));
  }
}

function calls({ directory }: PodsFixture): string[] {
  const file = join(directory, 'calls');
  const lines = existsSync(file) ? readFileSync(file, 'utf8').trim().split('\n') : [];
  rmSync(file, { force: true });
  return lines;
}

const THREE = [
  ['a', '10.1.0.5/24'],
  ['b', '10.2.0.5/24'],
  ['c', ''],
] as const;

test('a pod joins the first networks in the order of their files, and leaves them in reverse', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, [...THREE, ['d', '10.4.0.5/24']]);
  const service = await fixture.open(settings(fixture, { maxNetworks: 3 }));
  const id = await run(service, fixture);
  assert.deepEqual(calls(fixture), ['ADD a eth0', 'ADD b eth1', 'ADD c eth2']);
  const { ip, additionalIps, attachments } = service.get(id)?.network ?? assert.fail();
  assert.deepEqual([ip, additionalIps], ['10.1.0.5', []], 'as containerd: those of eth0');
  assert.deepEqual(attachments, [
    { network: 'a', interfaceName: 'eth0', ips: ['10.1.0.5'] },
    { network: 'b', interfaceName: 'eth1', ips: ['10.2.0.5'] },
    { network: 'c', interfaceName: 'eth2', ips: [] },
  ]);
  await service.close();
  const next = await fixture.open(settings(fixture, { maxNetworks: 1 }));
  await next.remove(id, fixture.operation());
  assert.deepEqual(calls(fixture), ['DEL c eth2', 'DEL b eth1', 'DEL a eth0'], 'as recorded');
  assert.deepEqual(await fixture.leftovers(), []);
  await run(next, fixture);
  assert.deepEqual(calls(fixture), ['ADD a eth0']);
  const all = await fixture.open(settings(fixture, { maxNetworks: 0 }));
  await run(all, fixture);
  assert.equal(calls(fixture).length, 4);
});

test('after a failed ADD what was begun is undone, and nothing else', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, THREE);
  const service = await fixture.open(settings(fixture, { maxNetworks: 3 }));
  writeFileSync(join(fixture.directory, 'fail-b-ADD'), '');
  await assert.rejects(run(service, fixture), /plugin notes of network b .*b fails/);
  assert.deepEqual(calls(fixture), ['ADD a eth0', 'ADD b eth1', 'DEL b eth1', 'DEL a eth0']);
  assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
});

test('a DEL that fails holds up no other network; a leak has all that is to be tried again', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, THREE);
  const service = await fixture.open(settings(fixture, { maxNetworks: 3 }));
  const id = await run(service, fixture);
  calls(fixture);
  writeFileSync(join(fixture.directory, 'fail-b-DEL'), '');
  for (let tries = 0; tries < 2; tries++)
    await assert.rejects(service.stop(id, fixture.operation()), /b fails/);
  await service.stop(id, fixture.operation());
  assert.deepEqual(calls(fixture).slice(0, 3), ['DEL c eth2', 'DEL b eth1', 'DEL a eth0']);
  assert.match(service.leaks()[0]?.error ?? '', /network b/);
});

test('two files with one name: an error that names both, and no pod', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, [
    ['a', '10.1.0.5/24'],
    ['b', '10.2.0.5/24'],
  ]);
  const { confDir } = fixture.options.network;
  await fixture.run('cp', `${confDir}/10-a.conflist`, `${confDir}/15-again.conflist`);
  const service = await fixture.open(settings(fixture, { maxNetworks: 0 }));
  assert.match(
    service.networkStatus().message,
    /10-a\.conflist and .*15-again\.conflist both have the name a/,
  );
  await assert.rejects(run(service, fixture), (error) => hasCode(error, 'NetworkFailed'));
  assert.deepEqual([calls(fixture), await fixture.leftovers()], [[], []]);
  const one = await fixture.open(settings(fixture, { maxNetworks: 1 }));
  assert.ok(one.networkStatus().ready);
});

test('real bridges: two networks, in-process and by the plugins, with the addresses of each', async () => {
  await using fixture = await PodsFixture.make();
  const ipam = { type: 'host-local', subnet: '10.252.0.0/24', dataDir: join(fixture.directory, 'ipam') };
  const second = { type: 'bridge', bridge: fixture.bridge, ipam };
  const list = { cniVersion: '1.0.0', name: 'second', plugins: [second] };
  await writeFile(join(fixture.options.network.confDir, '20-second.conflist'), JSON.stringify(list));
  for (const native of ['auto', 'exec'] as const) {
    const service = await fixture.open(settings(fixture, { maxNetworks: 2, native }));
    const id = await run(service, fixture);
    const netns = service.get(id)?.network.namespace ?? '';
    const shown = await fixture.run('nsenter', `--net=${netns}`, 'ip', '-o', 'address');
    assert.match(shown, /eth0 +inet 10\.251\.0\./);
    assert.match(shown, /eth1 +inet 10\.252\.0\./);
    await service.remove(id, fixture.operation());
    assert.deepEqual(await fixture.leftovers(), [], native);
  }
});

test('a configuration that is edited, broken or removed in the middle of an ADD: the pod has the one that it began with', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, THREE);
  const { confDir } = fixture.options.network;
  const hold = join(fixture.directory, 'hold');
  await fixture.plugin(
    'notes',
    `[ $CNI_COMMAND = ADD ] && while [ -e ${hold} ]; do sleep 0.02; done\n${noting(fixture)}`,
  );
  const service = await fixture.open(settings(fixture, { maxNetworks: 2 }));
  writeFileSync(hold, '');
  const making = run(service, fixture);
  while (service.list().length === 0) await sleep(5);
  const other = { cniVersion: '1.0.0', name: 'other', plugins: [{ type: 'none' }] };
  await writeFile(join(confDir, '10-a.conflist'), JSON.stringify(other));
  await writeFile(join(confDir, '20-b.conflist'), '{');
  await assert.rejects(run(service, fixture), /20-b\.conflist is not JSON/);
  rmSync(hold);
  const id = await making;
  assert.deepEqual(
    service.get(id)?.network.attachments.map(({ network }) => network),
    ['a', 'b'],
  );
  await rm(join(confDir, '10-a.conflist'));
  calls(fixture);
  await service.remove(id, fixture.operation());
  assert.deepEqual(calls(fixture), ['DEL b eth1', 'DEL a eth0']);
  assert.deepEqual([service.leaks(), await fixture.leftovers()], [[], []]);
});

test('a handler has networks of its own; a reload changes them, and not those of a pod that runs', async () => {
  await using fixture = await PodsFixture.make();
  await networks(fixture, THREE);
  const own = join(fixture.directory, 'own.d');
  await mkdir(own);
  const list = { cniVersion: '1.0.0', name: 'own', plugins: [{ type: 'notes', ip: '10.9.0.5/24' }] };
  await writeFile(join(own, '10-own.conflist'), JSON.stringify(list));
  const handlers = {
    crun: { sandbox: 'pause' },
    fast: { sandbox: 'pause', confDir: own },
    wide: { sandbox: 'pause', maxNetworks: 2 },
    none: { sandbox: 'pause', confDir: join(fixture.directory, 'none.d') },
  } as const;
  const options = { handlers, ...settings(fixture, { name: 'b' }) };
  const service = await fixture.open(options);
  const fast = await run(service, fixture, {}, 'fast');
  await run(service, fixture, {}, '');
  assert.deepEqual(calls(fixture), ['ADD own eth0', 'ADD b eth0'], 'the name is one of the common directory');
  await assert.rejects(run(service, fixture, {}, 'none'), /no CNI configuration in .*none\.d/);
  assert.ok(service.networkStatus().ready, 'the common directory decides');
  const next = { ...fixture.options, handlers: { ...handlers, fast: { sandbox: 'pause' } } } as const;
  const change = await service.prepare(next);
  change.apply();
  await run(service, fixture, {}, 'fast');
  await run(service, fixture, {}, 'wide');
  assert.deepEqual(calls(fixture), ['ADD a eth0', 'ADD a eth0', 'ADD b eth1']);
  await service.remove(fast, fixture.operation());
  assert.deepEqual(calls(fixture), ['DEL own eth0']);
});

test('the main address is of the preferred family, and stays so', async () => {
  await using fixture = await PodsFixture.make();
  for (const native of ['auto', 'exec'] as const) {
    const service = await fixture.open(settings(fixture, { ipPreference: 'ipv6', native }));
    const id = await run(service, fixture);
    const { ip, additionalIps } = service.get(id)?.network ?? assert.fail();
    assert.match(ip, /^fd00:251::/);
    assert.match(additionalIps.join(), /^10\.251\.0\.\d+$/);
    await service.close();
    const next = await fixture.open(settings(fixture, { native }));
    assert.equal(next.get(id)?.network.ip, ip);
    await next.remove(id, fixture.operation());
    assert.deepEqual(await fixture.leftovers(), []);
  }
});

test('host ports that are switched off: no rule, and the pod runs', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const portMappings = [{ protocol: 'tcp', hostPort: 7655, containerPort: 80, hostIp: '' }] as const;
  for (const native of ['auto', 'exec'] as const) {
    const service = await fixture.open(settings(fixture, { hostPorts: false, native }));
    const id = await run(service, fixture, { portMappings });
    assert.ok(!(await fixture.run('iptables-save')).includes('7655'));
    await service.remove(id, fixture.operation());
  }
  const service = await fixture.open(settings(fixture, { native: 'auto' }));
  const id = await run(service, fixture, { portMappings });
  assert.ok((await fixture.run('iptables-save')).includes('7655'));
  await service.remove(id, fixture.operation());
});

test('every capability reaches the plugins that declare it, for the first network alone', async () => {
  await using fixture = await PodsFixture.make();
  const all = ['portMappings', 'bandwidth', 'dns', 'ips', 'mac', 'ipRanges', 'infinibandGUID', 'cgroupPath'];
  const names = [...all, 'io.kubernetes.cri.pod-annotations'];
  const { confDir } = fixture.options.network;
  await fixture.plugin(
    'keeps',
    `[ $CNI_COMMAND = ADD ] || exit 0; cat > ${fixture.directory}/$CNI_IFNAME; echo '{"cniVersion":"1.0.0","ips":[{"address":"10.1.0.5/24"}]}'`,
  );
  const capabilities = Object.fromEntries(names.map((name) => [name, true]));
  for (const name of ['a', 'b'])
    await writeFile(
      join(confDir, `0-${name}.conflist`),
      JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'keeps', capabilities }] }),
    );
  const handlers = { crun: { sandbox: 'pause', allowedAnnotations: ['cni.crisp/'] } } as const;
  const service = await fixture.open({ handlers, ...settings(fixture, { maxNetworks: 2 }) });
  const annotations = {
    'kubernetes.io/ingress-bandwidth': '1M',
    'cni.crisp/ips': '10.1.0.5/24',
    'cni.crisp/mac': '02:42:ac:11:00:02',
    'cni.crisp/ip-ranges': '[[{"subnet":"10.1.0.0/24"}]]',
    'cni.crisp/infiniband-guid': 'c2:11:22:33:44:55:66:77',
  };
  const portMappings = [{ protocol: 'udp', hostPort: 7656, containerPort: 53, hostIp: '127.0.0.1' }] as const;
  await run(service, fixture, { annotations, portMappings });
  const given = (name: string) =>
    JSON.parse(readFileSync(join(fixture.directory, name), 'utf8')).runtimeConfig;
  const { cgroupPath, ...others } = given('eth0');
  assert.match(cgroupPath, /^\//);
  assert.deepEqual(others, {
    portMappings: [{ hostPort: 7656, containerPort: 53, protocol: 'udp', hostIP: '127.0.0.1' }],
    bandwidth: { ingressRate: 1e6, ingressBurst: 2 ** 31 - 1 },
    dns: { servers: ['10.0.0.1'], searches: ['x.test'], options: [] },
    ips: ['10.1.0.5/24'],
    mac: '02:42:ac:11:00:02',
    ipRanges: [[{ subnet: '10.1.0.0/24' }]],
    infinibandGUID: 'c2:11:22:33:44:55:66:77',
    'io.kubernetes.cri.pod-annotations': annotations,
  });
  assert.deepEqual(
    Object.keys(given('eth1')).filter((name) => ['ips', 'mac', 'ipRanges', 'infinibandGUID'].includes(name)),
    [],
  );
  await assert.rejects(run(service, fixture, { annotations: { 'cni.crisp/mac': 'none' } }), (error) =>
    hasCode(error, 'InvalidArgument'),
  );
});

test('the plugins of the distribution give the address and the MAC address that a pod requests', async () => {
  await using fixture = await PodsFixture.make();
  const ipam = {
    type: 'host-local',
    capabilities: { ips: true },
    subnet: '10.251.0.0/24',
    dataDir: join(fixture.directory, 'ipam'),
  };
  const bridge = { type: 'bridge', bridge: fixture.bridge, capabilities: { mac: true, ips: true }, ipam };
  await fixture.useNetwork([], { plugins: [bridge] });
  const handlers = { crun: { sandbox: 'pause', allowedAnnotations: ['cni.crisp/'] } } as const;
  const service = await fixture.open({ handlers, ...settings(fixture, { native: 'auto' }) });
  const annotations = { 'cni.crisp/ips': '10.251.0.77', 'cni.crisp/mac': '02:42:ac:11:00:77' };
  const id = await run(service, fixture, { annotations });
  const { ip, namespace = '' } = service.get(id)?.network ?? {};
  assert.equal(ip, '10.251.0.77');
  const shown = await fixture.run('nsenter', `--net=${namespace}`, 'ip', '-o', 'link', 'show', 'eth0');
  assert.match(shown, /02:42:ac:11:00:77/);
  await service.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('NetworkReady asks the plugins of every network', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('good', 'exit 0');
  await fixture.plugin('bad', `echo '{"cniVersion":"1.1.0","code":50,"msg":"no agent"}'; exit 1`);
  const { confDir } = fixture.options.network;
  await rm(join(confDir, '10-test.conflist'));
  for (const [name, type] of [
    ['one', 'good'],
    ['two', 'bad'],
  ])
    await writeFile(
      join(confDir, `${name}.conflist`),
      JSON.stringify({ cniVersion: '1.1.0', name, plugins: [{ type }] }),
    );
  const one = await fixture.open(settings(fixture, { maxNetworks: 1 }));
  while (!one.networkStatus().ready) await sleep(10);
  const both = await fixture.open(settings(fixture, { maxNetworks: 2 }));
  while (!both.networkStatus().message.includes('no agent')) await sleep(10);
  assert.match(both.networkStatus().message, /plugin bad of network two/);
});
