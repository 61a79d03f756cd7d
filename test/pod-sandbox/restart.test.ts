import assert from 'node:assert/strict';
import { randomBytes } from 'node:crypto';
import { mkdir, readdir, readFile, rename, utimes, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { newSandboxId } from '#core/ids.ts';
import { decode, encode } from '#core/json-record.ts';
import {
  noContainers,
  type PodSandboxes,
  type SandboxConfig,
  type SandboxEvent,
} from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

const request = (config: SandboxConfig) => ({ config, runtimeHandler: '' });

test('the end of the pause process is the end of the sandbox, without a call', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const id = await service.run(request(fixture.config()), fixture.operation());
  const ended = new Promise<SandboxEvent>((resolve) => service.onChange(resolve));
  const { process } = service.get(id) ?? {};
  assert.ok(process && fixture.kernel.processes.signal(process, 9));
  const { kind, sandbox } = await ended;
  assert.deepEqual([kind, sandbox.id, sandbox.state, sandbox.reason], ['notReady', id, 'notReady', 'dead']);
  await service.stop(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), [`record ${id}`]);
});

test('a restart finds the pods as they are, and its watch too', async () => {
  await using fixture = await PodsFixture.make();
  const first = await fixture.open();
  const id = await first.run(request(fixture.config()), fixture.operation());
  const before = first.get(id);
  const seen = (service: PodSandboxes) => JSON.parse(encode(service.get(id)));
  const same = seen(first);
  await first.close();
  const second = await fixture.open();
  assert.deepEqual(seen(second), same);
  await second.recover(fixture.operation());
  assert.deepEqual(seen(second), same);
  const ended = new Promise<SandboxEvent>((resolve) => second.onChange(resolve));
  assert.ok(before?.process && fixture.kernel.processes.signal(before.process, 9));
  assert.equal((await ended).sandbox.id, id);
  await second.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('a restart finds what ended, or was interrupted in its stop, while no daemon ran', async () => {
  await using fixture = await PodsFixture.make();
  const first = await fixture.open();
  const run = () => first.run(request(fixture.config()), fixture.operation());
  const [killed, unpinned, stopped] = [await run(), await run(), await run()];
  const { process } = first.get(killed) ?? {};
  const net = first.get(unpinned)?.network.namespace ?? '';
  await first.close();
  assert.ok(process && fixture.kernel.processes.signal(process, 9));
  await fixture.kernel.namespaces.watch(process, AbortSignal.timeout(10_000));
  await fixture.kernel.mounts.unmount(net);
  const path = join(fixture.options.root, 'sandboxes', stopped, 'record.json');
  const record = decode(await readFile(path, 'utf8')) as object;
  await writeFile(path, encode({ ...record, state: { name: 'notReady', reason: 'stopped', detail: '' } }));

  const containersOf: string[] = [];
  const stopAll = async (pod: string) => void containersOf.push(pod);
  const second = await fixture.open({}, { ...noContainers, stopAll, removeAll: stopAll });
  assert.equal(second.get(killed)?.state, 'notReady', 'before recovery');
  await second.recover(fixture.operation());
  const reasons = [killed, unpinned, stopped].map((id) => second.get(id)?.reason);
  assert.deepEqual([reasons, containersOf], [['dead', 'dead', 'stopped'], [stopped]]);
  assert.equal(fixture.kernel.mounts.below(join(fixture.options.state, 'sandboxes', stopped)).length, 0);
  for (const { id } of second.list()) await second.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
});

test('the first start of a boot releases addresses of before it that nobody uses, and no others, whatever the clocks say', async () => {
  await using fixture = await PodsFixture.make();
  const place = (address: string) => join(fixture.directory, 'ipam/test', address);
  const [long, ago] = [4e9, 1000]; // the clock went back, or was not set yet
  const unknown = async (address: string, written: number) => {
    await writeFile(place(address), `${randomBytes(32).toString('hex')}\r\neth0`);
    await utimes(place(address), written, written);
  };
  const started = async () => {
    const service = await fixture.open();
    await service.recover(fixture.operation());
    return service;
  };
  // Another runtime, whose pod lives.
  const [root, state] = ['other-root', 'other-state'].map((name) => join(fixture.directory, name));
  for (const directory of [root, state]) await mkdir(directory ?? '');
  const another = await fixture.open({ root: root ?? '', state: state ?? '' });
  const foreign = await another.run(request(fixture.config()), fixture.operation());
  await unknown('10.251.0.100', long);
  await unknown('10.251.0.101', ago);
  await writeFile(place('10.251.0.102'), 'a tool of the site');
  const atBoot = (await fixture.addresses()).sort();

  const first = await started();
  const gone = ['10.251.0.100', '10.251.0.101'];
  const kept = atBoot.filter((address) => !gone.includes(address));
  assert.deepEqual((await fixture.addresses()).sort(), kept);

  const own = await first.run(request(fixture.config()), fixture.operation());
  await unknown('10.251.0.103', ago); // of this boot, by someone who is just making a pod
  await first.close();
  const present = (await fixture.addresses()).sort();
  const second = await started();
  assert.deepEqual((await fixture.addresses()).sort(), present);
  await second.close();

  // Another boot: what it has noted is of no use for this one.
  const noted = join(fixture.options.state, 'addresses');
  await rename(join(noted, fixture.kernel.processes.bootId), join(noted, 'another-boot'));
  const third = await started();
  assert.deepEqual(
    (await fixture.addresses()).sort(),
    present.filter((address) => address !== '10.251.0.103'),
  );
  assert.deepEqual(await readdir(noted), [fixture.kernel.processes.bootId]);
  await third.remove(own, fixture.operation());
  await another.remove(foreign, fixture.operation());
  assert.deepEqual(await fixture.addresses(), ['10.251.0.102']);
});

test('the first start of a boot leaves alone what another runtime is just making', async () => {
  await using fixture = await PodsFixture.make();
  const addresses = join(fixture.directory, 'ipam/test');
  await mkdir(addresses, { recursive: true });
  const ago = 1000;
  const made = async (address: string, written: number): Promise<string> => {
    const id = newSandboxId();
    await writeFile(join(addresses, address), `${id}\r\neth0`);
    await utimes(join(addresses, address), written, written);
    return id;
  };
  await made('10.251.0.90', ago);
  await made('10.251.0.91', Date.now() / 1000); // between two of its plugins
  const netns = join(fixture.directory, 'netns');
  await writeFile(netns, '');
  const begun = await made('10.251.0.92', ago); // the clock was set since
  const ended = await made('10.251.0.93', ago);
  // libcni's files are below /var/lib, of which this file has a mount namespace of its own.
  await fixture.kernel.mounts.tmpfs({ target: '/var/lib' });
  try {
    await mkdir('/var/lib/cni/results', { recursive: true });
    for (const [containerId, path] of [
      [begun, netns],
      [ended, join(fixture.directory, 'none')],
    ] as const) {
      const result = { interfaces: [{ name: 'veth0' }, { name: 'eth0', sandbox: path }] };
      const entry = { kind: 'cniCacheV1', containerId, ifName: 'eth0', networkName: 'test', result };
      await writeFile(`/var/lib/cni/results/test-${containerId}-eth0`, JSON.stringify(entry));
    }
    const service = await fixture.open();
    await service.recover(fixture.operation());
    await service.close();
  } finally {
    await fixture.kernel.mounts.unmount('/var/lib');
  }
  assert.deepEqual((await fixture.addresses()).sort(), ['10.251.0.91', '10.251.0.92']);
});

test('records that cannot be read, or share a name, stop nothing', async () => {
  await using fixture = await PodsFixture.make();
  const first = await fixture.open();
  const config = fixture.config();
  const id = await first.run(request(config), fixture.operation());
  await first.close();
  const store = join(fixture.options.root, 'sandboxes');
  const record = await readFile(join(store, id, 'record.json'), 'utf8');
  const twin = newSandboxId();
  for (const name of [twin, 'broken', 'empty']) await fixture.run('mkdir', join(store, name));
  await writeFile(
    join(store, twin, 'record.json'),
    record.replaceAll(id, twin).replace('"ready"', '"creating"'),
  );
  await writeFile(join(store, 'broken', 'record.json'), record.slice(0, 100));
  const second = await fixture.open();
  assert.deepEqual(
    [second.get(id)?.state, second.get(twin)?.state, second.get(twin)?.reason],
    ['ready', 'notReady', 'failed'],
  );
  assert.equal(await second.run(request(config), fixture.operation()), id);
  await second.remove(id, fixture.operation());
  await second.remove(twin, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), ['record broken']);
});
