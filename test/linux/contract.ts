/** What every kernel does, the real one and the fake one. */
import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { existsSync, mkdirSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { basename, join } from 'node:path';
import test, { after } from 'node:test';
import { setTimeout } from 'node:timers/promises';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import type { InspectRequest, Kernel, PauseRequest, PodNat } from '#linux/ports/kernel.ts';
import { probeImage } from '../../image-service/store/probe-image.ts';
import { scratch } from './scratch.ts';
import { selinuxContract } from './selinux-contract.ts';

const env = { PATH: '/usr/bin:/bin' };
const soon = () => AbortSignal.timeout(20_000);
const code = (wanted: ErrorCode) => (error: unknown) => hasCode(error, wanted);
const prefix = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-contract`;
export function contract(name: string, kernel: Kernel): void {
  after(() => kernel.close());
  const { files, mounts, namespaces, processes, cgroups } = kernel;
  const sleeper = () => processes.spawn({ argv: ['sleep', '1000'], env });

  test(`${name}: files`, async (t) => {
    const root = scratch(t, mounts);
    await files.writeAtomic(join(root, 'a', '..', 'file'), 'text', { durable: true });
    assert.equal(readFileSync(join(root, 'file'), 'utf8'), 'text');
    await assert.rejects(files.writeAtomic(join(root, 'none', 'file'), ''), code('NotFound'));
    await files.rename(join(root, 'file'), join(root, 'moved'));
    await assert.rejects(files.rename(join(root, 'file'), join(root, 'x')), /ENOENT/);
    await files.writeAtomic(join(root, 'other'), 'other');
    assert.equal(await files.exchange(join(root, 'moved'), join(root, 'other')), true);
    assert.deepEqual(
      ['moved', 'other'].map((name) => readFileSync(join(root, name), 'utf8')),
      ['other', 'text'],
    );
    await assert.rejects(files.exchange(join(root, 'moved'), join(root, 'none')), code('NotFound'));
    await files.removeTree(join(root, 'other'));
    assert.equal(await files.makeDirectory(join(root, 'one/two')), join(root, 'one'));
    assert.equal(await files.makeDirectory(join(root, 'one/two')), undefined);
    for (const name of ['moved', 'moved', 'one']) await files.removeTree(join(root, name));
    assert.deepEqual(readdirSync(root), []);
    assert.ok((await files.statfs(root)).total > 0n);
    // On a tmpfs, and on most disks of machines that run this; test/node/ has one with fs-verity.
    await files.writeAtomic(join('/dev/shm', basename(root)), 'x');
    t.after(() => files.removeTree(join('/dev/shm', basename(root))));
    assert.equal(await files.sealFile(join('/dev/shm', basename(root))), false);
    await assert.rejects(files.sealFile(join(root, 'missing')), code('NotFound'));
  });

  test(`${name}: mounts`, async (t) => {
    const root = scratch(t, mounts);
    const at = (path: string) => join(root, path);
    for (const path of ['lower', 'lower2', 'upper', 'work', 'merged', 'bound', 'tmp']) mkdirSync(at(path));
    await mounts.overlay({
      target: at('merged'),
      lower: [at('lower'), at('lower2')],
      upper: at('upper'),
      work: at('work'),
    });
    await mounts.bind({ source: at('lower'), target: at('bound'), readonly: true });
    await mounts.tmpfs({ target: at('tmp'), bytes: 4096 });
    const targets = () =>
      mounts
        .below(root)
        .map(({ target }) => target)
        .sort();
    assert.deepEqual(targets(), [at('bound'), at('merged'), at('tmp')]);
    assert.deepEqual(mounts.below(at('bo')), []);
    for (const path of ['bound', 'bound', 'merged', 'tmp', 'missing', 'lower'])
      await mounts.unmount(at(path));
    assert.deepEqual(targets(), []);
    await assert.rejects(mounts.bind({ source: at('missing'), target: at('bound') }), code('NotFound'));
    await assert.rejects(mounts.tmpfs({ target: at('missing') }), code('NotFound'));
    await assert.rejects(
      mounts.overlay({ target: at('merged'), lower: [at('missing'), at('lower')] }),
      code('NotFound'),
    );
    await assert.rejects(mounts.overlay({ target: at('merged'), lower: [] }), code('InvalidArgument'));
    assert.deepEqual(targets(), []);
  });

  for (const by of ['file', 'loop'] as const) {
    test(`${name}: EROFS images by ${by}`, async (t) => {
      const root = scratch(t, mounts);
      const at = (path: string) => join(root, path);
      for (const path of ['one', 'two', 'upper', 'work', 'merged']) mkdirSync(at(path));
      writeFileSync(at('image'), probeImage('name', 'content'));
      await mounts.erofs({ image: at('image'), target: at('one'), by });
      await mounts.erofs({ image: at('image'), target: at('two'), by });
      const found = mounts.below(root);
      assert.deepEqual(
        found.map(({ target, type }) => [target, type]),
        [at('one'), at('two')].map((target) => [target, 'erofs']),
      );
      for (const { source, options } of found) {
        assert.match(source, by === 'file' ? /\/image$/ : /^\/dev\/loop\d+$/);
        assert.ok(options.split(',').includes('ro'));
      }
      const [upper, work, lower] = [at('upper'), at('work'), [at('one'), at('two')]];
      await mounts.overlay({ target: at('merged'), lower, upper, work });
      for (const path of ['one', 'two', 'one', 'merged']) await mounts.unmount(at(path));
      assert.deepEqual(mounts.below(root), []);

      const refuses = async (image: string, wanted: ErrorCode, target = at('one')) =>
        assert.rejects(mounts.erofs({ image: at(image), target, by }), code(wanted));
      writeFileSync(at('other'), 'x'.repeat(8192));
      truncateSync(at('image'), 4095);
      await refuses('image', 'DataLoss');
      await refuses('other', 'DataLoss');
      await refuses('upper', 'DataLoss');
      await refuses('missing', 'NotFound');
      writeFileSync(at('image'), probeImage('name', 'content'));
      await refuses('image', 'NotFound', at('missing'));
      assert.deepEqual(mounts.below(root), []);
    });
  }

  selinuxContract(name, kernel);

  test(`${name}: processes`, async () => {
    const child = await sleeper();
    assert.deepEqual(processes.reference(child.process.pid), child.process);
    assert.equal(processes.alive(child.process), true);
    assert.equal(processes.alive({ ...child.process, startTime: '1' }), false);
    assert.equal(processes.signal({ ...child.process, bootId: 'x' }, 9), false);
    assert.equal(processes.setOomScoreAdj(child.process.pid, 2000), 1000);
    assert.equal(processes.signal(child.process, 0), true);
    assert.equal(processes.signal(child.process, 15), true);
    assert.deepEqual(await child.exited, { code: 143, signal: 15 });
    assert.equal(processes.alive(child.process), false);
    assert.equal(processes.signal(child.process, 15), false);
    assert.throws(() => processes.setOomScoreAdj(child.process.pid, 0), code('NotFound'));
    const marked = await processes.spawn({ argv: ['sleep', '1000'], env: { ...env, CRISP_MARK: name } });
    assert.deepEqual(processes.withVariable('CRISP_MARK', name), [marked.process]);
    assert.equal(processes.signal(marked.process, 9), true);
    await marked.exited;
    assert.deepEqual(processes.withVariable('CRISP_MARK', name), []);
    const run = (signal: AbortSignal) => processes.run({ argv: ['sleep', '1000'], env }, signal);
    const abort = new AbortController();
    const running = run(abort.signal);
    setImmediate(() => abort.abort());
    await assert.rejects(running, code('Cancelled'));
    await assert.rejects(run(AbortSignal.abort()), code('Cancelled'));
  });

  test(`${name}: cgroups`, async (t) => {
    t.after(() => cgroups.remove(prefix, soon()));
    const path = `${prefix}/pod`;
    assert.deepEqual([cgroups.exists(path), cgroups.processes(path), cgroups.oomKills(path)], [false, [], 0]);
    await assert.rejects(cgroups.join(path, process.pid), code('NotFound'));
    await assert.rejects(cgroups.createChild(`${path}/child`), code('NotFound'));
    assert.equal(cgroups.exists(path), false);
    await cgroups.kill(path, soon());
    await cgroups.remove(path, soon());
    await cgroups.prepare(prefix);
    assert.equal(cgroups.trouble, undefined);
    const name = `find-${randomBytes(4).toString('hex')}`;
    assert.deepEqual(cgroups.find(name), []);
    await cgroups.create(`${path}/${name}`);
    assert.deepEqual(cgroups.find(name), [`${path}/${name}`]);
    await cgroups.remove(`${path}/${name}`, soon());
    await cgroups.create(path);
    await cgroups.create(path);
    await cgroups.createChild(`${path}/child`);
    const [one, two] = [await sleeper(), await sleeper()];
    await cgroups.join(path, one.process.pid);
    await cgroups.join(`${path}/child`, two.process.pid);
    assert.deepEqual(cgroups.processes(path).sort(), [one.process.pid, two.process.pid].sort());
    assert.deepEqual(cgroups.processes(`${path}/child`), [two.process.pid]);
    cgroups.signalAll(`${path}/child`, 15);
    assert.equal((await two.exited).signal, 15);
    await assert.rejects(
      cgroups.remove(path, AbortSignal.timeout(50)),
      (error) => error instanceof Error && error.message.includes(`${one.process.pid}`),
    );
    await cgroups.kill(path, soon());
    assert.equal((await one.exited).signal, 9);
    await cgroups.remove(path, soon());
    assert.deepEqual([cgroups.exists(path), cgroups.exists(prefix)], [false, true]);
    await assert.rejects(cgroups.create('/a/../b'), code('InvalidArgument'));
  });

  test(`${name}: namespaces`, async (t) => {
    const pins = scratch(t, mounts);
    const request: PauseRequest = { kinds: ['net', 'ipc'], pins, sysctls: {}, oomScoreAdj: 0 };
    const held = await namespaces.hold(request, soon());
    assert.deepEqual(held.pins, { net: join(pins, 'net'), ipc: join(pins, 'ipc') });
    assert.deepEqual(
      mounts
        .below(pins)
        .map(({ target }) => target)
        .sort(),
      Object.values(held.pins).sort(),
    );
    assert.equal(processes.alive(held.process), true);
    await held.release();
    const watched = namespaces.watch(held.process, soon());
    assert.equal(processes.signal(held.process, 9), true);
    await watched;
    await namespaces.watch(held.process, soon());
    assert.equal(processes.alive(held.process), false);
    const again = await namespaces.hold(request, soon());
    assert.equal(mounts.below(pins).length, 2);
    const abort = new AbortController();
    const given = namespaces.watch(again.process, abort.signal);
    abort.abort();
    await assert.rejects(given, code('Cancelled'));
    await again.abandon();
    assert.equal(processes.alive(again.process), false);
    await namespaces.unpin(pins);
    await namespaces.unpin(pins);
    await assert.rejects(namespaces.hold({ ...request, pins: join(pins, 'none') }, soon()), code('NotFound'));
    await assert.rejects(
      namespaces.hold({ ...request, sysctls: { 'kernel.panic': '1' } }, soon()),
      code('InvalidArgument'),
    );
    await namespaces.pinEmptyNetwork(join(pins, 'net'));
    await namespaces.unpin(pins);
    assert.deepEqual([readdirSync(pins), mounts.below(pins), existsSync(pins)], [[], [], true]);
    writeFileSync(join(pins, 'record.json'), '{}');
    await namespaces.unpin(pins);
    assert.deepEqual(readdirSync(pins), ['record.json'], 'only pins are deleted');
  });

  test(`${name}: links of pods`, async (t) => {
    const { links } = kernel;
    const netns = join(scratch(t, mounts), 'net');
    await namespaces.pinEmptyNetwork(netns);
    const pod = { netns, interfaceName: 'eth0', loopback: true, mtu: 1400, routes: [], localnet: undefined };
    const mac = /^([0-9a-f]{2}:){5}[0-9a-f]{2}$/;
    const address = { address: '10.67.0.2', prefixLength: 24 };
    const gateway = '10.67.0.1';
    const made = await links.pair({ ...pod, addresses: [{ ...address, gateway }] }, soon());
    for (const text of [made.nodeMac, made.podMac]) assert.match(text, mac);
    await tunes(links, { netns, interfaceName: 'eth0' });
    const limit = { rate: 8e6, burst: 8e6 };
    const request = { link: made.nodeName, toPod: limit, fromPod: undefined };
    assert.equal(await links.limit(request, soon()), undefined);
    const device = `crisp${process.pid}`.slice(0, 15);
    const both = { ...request, toPod: undefined, fromPod: { ...limit, device } };
    assert.match((await links.limit(both, soon())) ?? '', mac);
    for (let n = 0; n < 2; n++) await links.unlimit(device);
    for (let n = 0; n < 2; n++) await links.leave(pod);
    const bridge = `crispb${process.pid}`.slice(0, 15);
    const onBridge = { bridge, hairpin: false, gateways: [], forceAddress: false };
    const joined = await links.join({ ...pod, ...onBridge, addresses: [address] }, soon());
    for (const text of [joined.bridgeMac, joined.nodeMac, joined.podMac]) assert.match(text, mac);
    await links.leave(pod);
    await links.unlimit(bridge);
    await mounts.unmount(netns);
  });

  test(`${name}: tables of NAT rules`, async () => {
    const { tables } = kernel.nat;
    const key = { network: 'contract', id: 'ab'.repeat(32), interfaceName: 'eth0' };
    const rules = (changes: Partial<PodNat> = {}): PodNat => ({
      ...key,
      family: 4,
      address: '10.66.7.9',
      prefixLength: 24,
      masquerade: true,
      ports: [{ hostPort: 8080, containerPort: 80, protocol: 'tcp' }],
      snat: true,
      ...changes,
    });
    await tables.check({ family: 6, masquerade: true, ports: true });
    assert.equal(await tables.erase(key), false);
    await tables.write(rules());
    await tables.write(rules());
    await tables.write(rules({ family: 6, address: 'fd00:66::9', prefixLength: 64 }));
    const owners = async (...networks: string[]) =>
      new Set((await tables.owners(networks)).map(({ network, id }) => `${network} ${id}`));
    assert.deepEqual(await owners('another', key.network), new Set([`${key.network} ${key.id}`]));
    assert.deepEqual(await owners('another'), new Set());
    assert.equal(await tables.erase({ ...key, network: 'another' }), false);
    assert.equal(await tables.erase(key), true);
    assert.deepEqual(await owners(key.network), new Set());
    assert.equal(await tables.erase(key), false);
  });

  const noSystemd = kernel.systemd.booted ? undefined : 'systemd is not PID 1 here';
  test(`${name}: units`, { skip: noSystemd }, async () => {
    const { systemd } = kernel;
    const slice = `crisptest${process.pid}.slice`;
    const scope = `crisp-test-${process.pid}.scope`;
    const path = `/${slice}/${scope}`;
    const first = await sleeper();
    const request = { name: scope, slice, description: 'a test', pids: [first.process.pid] };
    const properties = [{ name: 'TasksMax', type: 't', value: 55n }];
    await systemd.startScope({ ...request, slices: [{ name: slice, properties }] }, soon());
    assert.deepEqual(cgroups.processes(path), [first.process.pid]);
    await assert.rejects(systemd.startScope({ ...request, slices: [] }, soon()), code('AlreadyExists'));
    await cgroups.kill(path, soon());
    while (cgroups.exists(path)) await setTimeout(20);
    await first.exited;
    const dead = { ...request, name: `crisp-dead-${process.pid}.scope`, slices: [] };
    await assert.rejects(systemd.startScope(dead, soon()), code('NotFound'));
    for (let n = 0; n < 2; n++) await systemd.stop(slice, soon());
    assert.equal(cgroups.exists(`/${slice}`), false);
  });
}

async function tunes(links: Kernel['links'], pod: InspectRequest): Promise<void> {
  const settings = { mac: '02:00:00:00:00:77', mtu: 1337, promiscuous: true, allMulticast: true };
  const sysctls = [
    { key: 'ipv4/conf/eth0/rp_filter', value: '2' },
    { key: 'ipv4/ping_group_range', value: '7\t77' },
  ];
  const keys = sysctls.map(({ key }) => key);
  const state = async () => {
    const { mac, mtu, promiscuous, allMulticast, sysctls } =
      (await links.inspect({ ...pod, sysctls: keys })) ?? assert.fail('no link');
    return { mac, mtu, promiscuous, allMulticast, sysctls: keys.map((key) => sysctls[key]) };
  };
  const { promiscuous, allMulticast, mtu } = await state();
  assert.deepEqual([promiscuous, allMulticast, mtu], [false, false, 1400]);
  await links.tune({ ...pod, ...settings, sysctls }, soon());
  assert.deepEqual(await state(), { ...settings, sysctls: sysctls.map(({ value }) => value) });
  await assert.rejects(
    links.tune({ ...pod, ...settings, interfaceName: 'eth7', sysctls: [] }, soon()),
    (error) => hasCode(error, 'NetworkFailed'),
  );
}
