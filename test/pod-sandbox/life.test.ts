import assert from 'node:assert/strict';
import { readFile, rm } from 'node:fs/promises';
import { hostname } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { type CrispError, hasCode } from '#core/errors.ts';
import { newContainerId, newSandboxId } from '#core/ids.ts';
import { defaultLinux, type SandboxConfig, type SandboxEvent } from '#pod-sandbox/index.ts';
import { sampleResources } from '../fixtures/sandbox-config.ts';
import { PodsFixture } from './pods-fixture.ts';

const { security } = defaultLinux;
const linuxWith = (namespaces: Partial<typeof security.namespaces>, changes: object = {}) => ({
  ...defaultLinux,
  security: { ...security, namespaces: { ...security.namespaces, ...namespaces } },
  ...changes,
});
const request = (config: SandboxConfig) => ({ config, runtimeHandler: '' });
const inside = (pins: Readonly<Record<string, string | undefined>>, ...argv: string[]): string[] => [
  'nsenter',
  ...Object.entries(pins).map(([kind, path]) => `--${kind}=${path}`),
  ...argv,
];

test('a pod runs, its status is as requested, it stops and leaves nothing', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const events: SandboxEvent['kind'][] = [];
  service.onChange(({ kind }) => events.push(kind));
  const config = fixture.config({
    linux: linuxWith({}, { sysctls: { 'net.ipv4.ip_default_ttl': '77', 'kernel.shm_rmid_forced': '1' } }),
  });
  const id = await service.run(request(config), fixture.operation());

  const sandbox = service.get(id);
  assert.ok(sandbox);
  assert.deepEqual([sandbox.state, sandbox.runtimeHandler, sandbox.config], ['ready', '', config]);
  assert.match(sandbox.network.ip, /^10\.251\.0\.\d+$/);
  assert.equal(sandbox.network.additionalIps.length, 1);
  assert.ok(sandbox.createdAt > 1_600_000_000_000_000_000n);
  assert.equal(service.resolve(id.slice(0, 10)), id);

  const pod = service.pods.get(id);
  assert.ok(pod?.ready && sandbox.process);
  const { net, uts, ipc, pid } = pod.pins;
  assert.ok(net && uts && ipc && pid);
  assert.equal((await fixture.run(...inside({ uts }, 'hostname'))).trim(), 'inside');
  assert.equal(
    (await fixture.run(...inside({ net }, 'cat', '/proc/sys/net/ipv4/ip_default_ttl'))).trim(),
    '77',
  );
  assert.equal(
    (await fixture.run(...inside({ ipc }, 'cat', '/proc/sys/kernel/shm_rmid_forced'))).trim(),
    '1',
  );
  const links = await fixture.run(...inside({ net }, 'ip', '-o', 'addr'));
  assert.ok(links.includes(`${sandbox.network.ip}/24`) && /lo\s+inet 127\.0\.0\.1/.test(links), links);
  assert.equal(await readFile(pod.files.hostname ?? '', 'utf8'), 'inside\n');
  assert.equal(await readFile(pod.files.resolvConf ?? '', 'utf8'), 'search x.test\nnameserver 10.0.0.1\n');
  const shm = fixture.kernel.mounts
    .below(fixture.options.state)
    .find(({ target }) => target === pod.files.shm);
  for (const option of ['nosuid', 'nodev', 'noexec']) assert.ok(shm?.options.includes(option), option);
  assert.deepEqual(fixture.kernel.cgroups.processes(pod.monitorCgroup), [sandbox.process.pid]);
  const container = newContainerId();
  assert.equal(
    service.pods.containerCgroup(id, container).path,
    `${fixture.options.cgroupPrefix}/${id}/${container}`,
  );

  await service.stop(id, fixture.operation());
  await service.stop(id, fixture.operation());
  assert.deepEqual([service.get(id)?.state, service.get(id)?.reason], ['notReady', 'stopped']);
  assert.deepEqual(await fixture.leftovers(), [`record ${id}`]);
  await service.remove(id, fixture.operation());
  await service.remove(id, fixture.operation());
  await service.stop(newSandboxId(), fixture.operation());
  assert.equal(service.get(id), undefined);
  assert.deepEqual(await fixture.leftovers(), []);
  assert.deepEqual(events, ['created', 'ready', 'notReady', 'removed']);
});

test('a pod on the node network needs no CNI and has no address; one with a network is refused without CNI', async () => {
  await using fixture = await PodsFixture.make();
  await rm(join(fixture.options.network.confDir, '10-test.conflist'));
  const service = await fixture.open();
  assert.equal(service.networkStatus().ready, false);
  const config = fixture.config({
    hostname: '',
    dns: undefined,
    linux: linuxWith({ network: 'node', ipc: 'node', pid: 'node' }),
  });
  const id = await service.run(request(config), fixture.operation());
  const pod = service.pods.get(id);
  assert.deepEqual(
    [service.get(id)?.state, service.get(id)?.network.ip, pod?.network],
    ['ready', '', 'node'],
  );
  assert.deepEqual([pod?.pins, pod?.files.shm, pod?.hostname], [{}, '/dev/shm', hostname()]);
  assert.equal(
    await readFile(pod?.files.resolvConf ?? '', 'utf8'),
    await readFile('/etc/resolv.conf', 'utf8').catch(() => ''),
  );
  await assert.rejects(service.run(request(fixture.config()), fixture.operation()), (error) =>
    hasCode(error, 'NetworkFailed'),
  );
  await fixture.useNetwork();
  await service.run(request(fixture.config()), fixture.operation());
  for (const { id: other } of service.list()) await service.remove(other, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('host ports are forwarded while the pod runs', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const service = await fixture.open();
  const portMappings = [{ protocol: 'tcp' as const, containerPort: 80, hostPort: 12_345, hostIp: '' }];
  const id = await service.run(request(fixture.config({ portMappings })), fixture.operation());
  assert.match(await fixture.run('iptables-save', '-t', 'nat'), /12345/);
  await service.remove(id, fixture.operation());
  assert.doesNotMatch(await fixture.run('iptables-save', '-t', 'nat'), /12345/);
  assert.deepEqual(await fixture.leftovers(), []);
});

test('retries join and are answered with one id; a name is held until removal', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const config = fixture.config();
  const ids = await Promise.all([1, 2, 3].map(() => service.run(request(config), fixture.operation())));
  assert.equal(new Set(ids).size, 1);
  const [id] = ids;
  assert.ok(id);
  assert.equal(await service.run(request(config), fixture.operation()), id);
  assert.equal(service.list().length, 1);
  const other = { ...config, labels: { a: 'c' } };
  const names = (error: CrispError) => error.code === 'AlreadyExists' && error.message.includes(id);
  await assert.rejects(service.run(request(other), fixture.operation()), names);
  await service.stop(id, fixture.operation());
  await assert.rejects(service.run(request(config), fixture.operation()), names);
  await service.remove(id, fixture.operation());
  const again = await service.run(request(other), fixture.operation());
  assert.notEqual(again, id);
  await Promise.all([service.stop(again, fixture.operation()), service.remove(again, fixture.operation())]);
  assert.deepEqual(await fixture.leftovers(), []);
});

test('the next sandbox of a pod is created after the last, also where the clock has stepped back', async (t) => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const config = (attempt: number) => {
    const made = fixture.config({ linux: linuxWith({ network: 'node', ipc: 'node' }) });
    return { ...made, metadata: { ...made.metadata, attempt } };
  };
  const first = await service.run(request(config(0)), fixture.operation());
  await service.stop(first, fixture.operation());
  t.mock.timers.enable({ apis: ['Date'], now: Date.now() - 3600_000 });
  const second = await service.run(request(config(1)), fixture.operation());
  assert.ok((service.get(second)?.createdAt ?? 0n) > (service.get(first)?.createdAt ?? 0n));
});

test('many pods at once get addresses of their own and leave nothing', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const service = await fixture.open();
  const run = (hostPort: number) => {
    const portMappings = [{ protocol: 'tcp' as const, containerPort: 80, hostPort, hostIp: '' }];
    return service.run(request(fixture.config({ portMappings })), fixture.operation());
  };
  const ids = await Promise.all(Array.from({ length: 10 }, (_, index) => run(13_000 + index)));
  assert.equal(new Set(service.list().map(({ network }) => network.ip)).size, 10);
  await Promise.all(ids.map((id) => service.remove(id, fixture.operation())));
  assert.deepEqual(await fixture.leftovers(), []);
});

test('handlers: unknown and incomplete ones are refused before anything is created', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const run = (runtimeHandler: string) =>
    service.run({ config: fixture.config(), runtimeHandler }, fixture.operation());
  await assert.rejects(
    run('nope'),
    (error) => hasCode(error, 'InvalidArgument') && error.hint.includes('crun'),
  );
  await assert.rejects(run('constructor'), (error) => hasCode(error, 'InvalidArgument'));
  await assert.rejects(run('vm'), (error) => hasCode(error, 'Unimplemented'));
  assert.equal(service.get(await run('crun'))?.runtimeHandler, 'crun');
});

test("the kubelet's cgroup is used, and neither limited nor removed", async () => {
  await using fixture = await PodsFixture.make();
  const parent = `${fixture.options.cgroupPrefix}/kubepods/pod1`;
  const service = await fixture.open();
  const id = await service.run(
    request(fixture.config({ linux: { ...defaultLinux, cgroupParent: parent } })),
    fixture.operation(),
  );
  assert.equal(service.pods.get(id)?.monitorCgroup, `${parent}/${id}`);
  await service.remove(id, fixture.operation());
  assert.ok(fixture.kernel.cgroups.exists(parent));
  assert.ok(!fixture.kernel.cgroups.exists(`${parent}/${id}`));
});

test("crisp's own pod cgroup has the pod's limits", async () => {
  await using fixture = await PodsFixture.make();
  const resources = sampleResources({
    cpuPeriod: 100_000n,
    cpuQuota: 50_000n,
    cpuShares: 512n,
    memoryLimitBytes: 64n << 20n,
  });
  const service = await fixture.open();
  const id = await service.run(
    request(fixture.config({ linux: { ...defaultLinux, resources } })),
    fixture.operation(),
  );
  const { cgroups } = fixture.kernel;
  const file = cgroups.version === 2 ? 'memory.max' : 'memory.limit_in_bytes';
  assert.equal(cgroups.read(service.get(id)?.cgroup ?? '', file), `${64 << 20}`);
});

test('a pod with a user namespace owns its network namespace and its files', async () => {
  await using fixture = await PodsFixture.make();
  const mapping = { containerId: 0, hostId: 300_000, length: 65_536 };
  const user = { mode: 'pod' as const, uids: [mapping], gids: [mapping] };
  const service = await fixture.open();
  const id = await service.run(request(fixture.config({ linux: linuxWith({ user }) })), fixture.operation());
  const { user: userPin, net } = service.pods.get(id)?.pins ?? {};
  const written = await fixture.run(
    ...inside(
      { user: userPin, net },
      'sh',
      '-c',
      'echo 1 > /proc/sys/net/ipv4/ip_forward; cat /proc/sys/net/ipv4/ip_forward',
    ),
  );
  assert.equal(written.trim(), '1');
  await service.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});
