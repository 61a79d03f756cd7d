/** What networks hold for pods that do not exist: GC of CNI 1.1, and DEL for owners that have no record. */
import assert from 'node:assert/strict';
import { type ChildProcess, spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { mkdir, rename, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { newSandboxId, type SandboxId } from '#core/ids.ts';
import { type Log, silentLog } from '#core/operation.ts';
import { noContainers, type PodSandboxes, type PodSandboxOptions } from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

const RESULT = '{"cniVersion":"1.1.0","ips":[{"address":"10.251.0.9/24"}]}';

/** Rounds begin at once, and what one has found the next one releases a moment later. */
const collecting = (
  fixture: PodsFixture,
  changes: Partial<PodSandboxOptions['network']> = {},
): Partial<PodSandboxOptions> => ({
  network: { ...fixture.options.network, gcInterval: 3_600_000, gcRecheck: 20, ...changes },
});

const run = (service: PodSandboxes, fixture: PodsFixture, changes: object = {}): Promise<SandboxId> =>
  service.run({ config: fixture.config(changes), runtimeHandler: '' }, fixture.operation());

async function until(what: () => boolean | Promise<boolean>): Promise<void> {
  while (!(await what())) await sleep(10);
}

/** What the plugin was given last, by GC. */
const given = (file: string): Record<string, unknown> => JSON.parse(readFileSync(file, 'utf8'));

/** A plugin that keeps the input of its GC; its ADD waits while there is a file `hold`. */
const collector = ({ directory }: PodsFixture): string => `
case $CNI_COMMAND in
  GC) cat > ${directory}/gc.new; env > ${directory}/gc-env; mv ${directory}/gc.new ${directory}/gc ;;
  ADD) touch ${directory}/adding; while [ -e ${directory}/hold ]; do sleep 0.02; done; echo '${RESULT}' ;;
esac`;

test('GC after the start names the pods that have a network, and no others', async () => {
  await using fixture = await PodsFixture.make();
  const file = join(fixture.directory, 'gc');
  await fixture.plugin('keeps', collector(fixture));
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'keeps', mtu: 1400 }] });
  const first = await fixture.open();
  const [live, stopped] = [await run(first, fixture), await run(first, fixture)];
  await first.stop(stopped, fixture.operation());
  await first.close();
  const service = await fixture.open(collecting(fixture));
  await service.recover(fixture.operation());
  await until(() => existsSync(file));
  const valid = [{ containerID: live, ifname: 'eth0' }];
  assert.deepEqual(given(file), {
    type: 'keeps',
    mtu: 1400,
    name: 'test',
    cniVersion: '1.1.0',
    'cni.dev/valid-attachments': valid,
    'cni.dev/attachments': valid,
  });
  const variables = readFileSync(join(fixture.directory, 'gc-env'), 'utf8').split('\n');
  const cni = variables.filter((line) => line.startsWith('CNI_')).sort();
  assert.deepEqual(cni, ['CNI_COMMAND=GC', `CNI_PATH=${fixture.options.network.binDirs.join(':')}`]);
});

test('a GC waits for an ADD that runs, whose pod it then names', async () => {
  await using fixture = await PodsFixture.make();
  const [file, hold] = [join(fixture.directory, 'gc'), join(fixture.directory, 'hold')];
  await fixture.plugin('keeps', collector(fixture));
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'keeps' }] });
  const service = await fixture.open(collecting(fixture, { gcInterval: 50 }));
  await service.recover(fixture.operation());
  await until(() => existsSync(file));
  writeFileSync(hold, '');
  const making = run(service, fixture);
  await until(() => existsSync(join(fixture.directory, 'adding')));
  rmSync(file, { force: true });
  await sleep(300);
  assert.ok(!existsSync(file), 'no GC beside an ADD');
  rmSync(hold);
  const id = await making;
  await until(() => existsSync(file));
  assert.deepEqual(given(file)['cni.dev/valid-attachments'], [{ containerID: id, ifname: 'eth0' }]);
});

/** Counts the rounds that have warned of pods without a record. */
function warnings(): { readonly log: Log; readonly texts: string[] } {
  const texts: string[] = [];
  const log: Log = { ...silentLog, warn: (_, text) => void texts.push(text), child: () => log };
  return { log, texts };
}

test('no GC while a pod has a record that this crisp cannot read', async () => {
  await using fixture = await PodsFixture.make();
  const file = join(fixture.directory, 'gc');
  await fixture.plugin('keeps', collector(fixture));
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'keeps' }] });
  const first = await fixture.open();
  const id = await run(first, fixture);
  await first.close();
  const { root, state } = fixture.options;
  rmSync(join(state, 'records'), { recursive: true, force: true });
  const path = join(root, 'sandboxes', id, 'record.json');
  const record = readFileSync(path, 'utf8');
  writeFileSync(path, JSON.stringify({ ...JSON.parse(record), version: 1_000 }));
  const { log, texts } = warnings();
  const older = await fixture.open(collecting(fixture, { gcInterval: 50 }), noContainers, log);
  await older.recover(fixture.operation());
  await until(() => texts.some((text) => text.startsWith('no CNI GC')));
  await sleep(2_500); // more rounds
  await older.close();
  assert.ok(!existsSync(file));
  assert.equal(texts.filter((text) => text.startsWith('no CNI GC')).length, 1, 'it is logged once');
  writeFileSync(path, record);
  const service = await fixture.open(collecting(fixture));
  await service.recover(fixture.operation());
  await until(() => existsSync(file));
  assert.deepEqual(given(file)['cni.dev/valid-attachments'], [{ containerID: id, ifname: 'eth0' }]);
});

for (const [why, changes] of [
  ['a list of 1.0.0', { cniVersion: '1.0.0' }],
  ['disableGC', { cniVersion: '1.1.0', disableGC: true }],
] as const)
  test(`no GC: ${why}`, async () => {
    await using fixture = await PodsFixture.make();
    await fixture.plugin('keeps', collector(fixture));
    await fixture.useNetwork([], { plugins: [{ type: 'keeps' }], ...changes });
    const service = await fixture.open(collecting(fixture));
    await service.recover(fixture.operation());
    await sleep(300);
    assert.ok(!existsSync(join(fixture.directory, 'gc')));
  });

/** Makes a pod, then loses its record, its directory and its processes, as a new disk does: its network stays. */
async function loseOne(
  fixture: PodsFixture,
  changes: Partial<PodSandboxOptions['network']> = {},
): Promise<SandboxId> {
  const service = await fixture.open({ network: { ...fixture.options.network, ...changes } });
  await service.recover(fixture.operation()); // notes which addresses are of before the boot: this pod's is not
  const portMappings = [{ protocol: 'tcp', hostPort: 7654, containerPort: 80, hostIp: '' }] as const;
  const id = await run(service, fixture, { portMappings });
  const { process } = service.get(id) ?? {};
  await service.close();
  if (process) fixture.kernel.processes.signal(process, 9);
  const { root, state } = fixture.options;
  for (const { target } of fixture.kernel.mounts.below(join(state, 'sandboxes', id)).toReversed())
    await fixture.kernel.mounts.unmount(target);
  for (const path of [join(root, 'sandboxes', id), join(state, 'sandboxes', id), join(state, 'records')])
    rmSync(path, { recursive: true, force: true });
  await until(async () => (await fixture.veths()).length === 0);
  return id;
}

const rules = async (fixture: PodsFixture, id: string): Promise<boolean> =>
  (await fixture.run('iptables-save')).includes(id);

for (const native of ['exec', 'auto'] as const)
  test(`what a lost record held comes back, addresses and rules: ${native}`, async () => {
    await using fixture = await PodsFixture.make();
    await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
    const id = await loseOne(fixture, { native });
    assert.equal((await fixture.addresses()).length, 2);
    assert.ok(await rules(fixture, id));
    const service = await fixture.open(collecting(fixture, { native }));
    const alive = await run(service, fixture);
    await service.recover(fixture.operation());
    await until(async () => (await fixture.addresses()).length === 2 && !(await rules(fixture, id)));
    assert.deepEqual(service.leaks(), []);
    assert.equal(service.get(alive)?.state, 'ready');
    await service.remove(alive, fixture.operation());
    assert.deepEqual(await fixture.addresses(), []);
  });

test('rules that belong to no pod and no address go, with iptables and without, and those of pods stay', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  for (const PATH of [fixture.options.network.environment['PATH'] ?? '', '/nonexistent']) {
    const changes = { native: 'auto', environment: { PATH } } as const;
    const id = await loseOne(fixture, changes);
    rmSync(join(fixture.directory, 'ipam'), { recursive: true });
    const ruleset = async () =>
      `${await fixture.run('iptables-save')}${await fixture.run('nft', 'list', 'ruleset')}`;
    assert.ok((await ruleset()).includes(id), PATH);
    const service = await fixture.open(collecting(fixture, changes));
    const portMappings = [{ protocol: 'tcp', hostPort: 7655, containerPort: 80, hostIp: '' }] as const;
    const alive = await run(service, fixture, { portMappings });
    await service.recover(fixture.operation());
    await until(async () => !(await ruleset()).includes(id));
    assert.ok((await ruleset()).includes(alive), PATH);
    await service.remove(alive, fixture.operation());
    assert.ok(!(await ruleset()).includes(alive));
  }
});

test('so do those of a network whose name leaves no room for the pod in their comments', {
  timeout: 60_000,
}, async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([], { name: 'pods-of-the-node' }, { ipMasq: true });
  const changes = { native: 'auto', environment: { PATH: '/nonexistent' } } as const;
  const id = await loseOne(fixture, changes);
  rmSync(join(fixture.directory, 'ipam'), { recursive: true });
  const ruleset = () => fixture.run('nft', 'list', 'ruleset');
  const beginning = id.slice(0, 40);
  assert.ok((await ruleset()).includes(beginning));
  assert.ok(!(await ruleset()).includes(id), 'the comment is cut');
  const service = await fixture.open(collecting(fixture, changes));
  const alive = await run(service, fixture);
  await service.recover(fixture.operation());
  await until(async () => !(await ruleset()).includes(beginning));
  assert.ok((await ruleset()).includes(alive.slice(0, 40)));
  await service.remove(alive, fixture.operation());
  assert.ok(!(await ruleset()).includes(alive.slice(0, 40)));
});

test('what the plugins cannot release is listed as a leak, and released when they can', async () => {
  await using fixture = await PodsFixture.make();
  const broken = join(fixture.directory, 'broken');
  await fixture.plugin(
    'last',
    `[ -e ${broken} ] && { echo "no daemon" >&2; exit 1; }; [ $CNI_COMMAND = ADD ] && sed 's/.*"prevResult"://; s/}$//'; exit 0`,
  );
  await fixture.useNetwork([{ type: 'last' }]);
  const id = await loseOne(fixture);
  writeFileSync(broken, '');
  const service = await fixture.open(collecting(fixture));
  await service.recover(fixture.operation());
  await until(() => service.leaks().length > 0);
  const [leak] = service.leaks();
  assert.deepEqual([leak?.id, leak?.kinds], [id, ['network']]);
  assert.match(leak?.error ?? '', /plugin last of network test .*no daemon/);
  rmSync(broken);
  await until(() => service.leaks().length === 0);
  assert.deepEqual(await fixture.addresses(), []);
});

async function stranger(t: TestContext, id: string): Promise<ChildProcess> {
  const child = spawn('sleep', ['1000'], { env: { CNI_CONTAINERID: id, PATH: process.env['PATH'] } });
  t.after(() => child.kill());
  await once(child, 'spawn');
  return child;
}

test('what another runtime owns stays: pods that live, names that are no ids', async (t) => {
  await using fixture = await PodsFixture.make();
  const directory = join(fixture.directory, 'ipam/test');
  await mkdir(directory, { recursive: true });
  const [foreign, lost] = [newSandboxId(), newSandboxId()];
  await writeFile(join(directory, '10.251.0.77'), `${foreign}\r\neth0`);
  await writeFile(join(directory, '10.251.0.78'), 'by-hand\r\neth0');
  await writeFile(join(directory, '10.251.0.79'), `${lost}\r\neth0`);
  const child = await stranger(t, foreign);
  const service = await fixture.open(collecting(fixture, { gcInterval: 40 }));
  await service.recover(fixture.operation());
  await until(async () => !(await fixture.addresses()).includes('10.251.0.79'));
  assert.deepEqual((await fixture.addresses()).sort(), ['10.251.0.77', '10.251.0.78']);
  child.kill();
  await until(async () => !(await fixture.addresses()).includes('10.251.0.77'));
  assert.deepEqual(await fixture.addresses(), ['10.251.0.78']);
});

test('a pod that is being made is not taken for one without a record', async () => {
  await using fixture = await PodsFixture.make();
  const hold = join(fixture.directory, 'hold');
  await fixture.plugin(
    'slow',
    `[ $CNI_COMMAND = ADD ] || exit 0; touch ${fixture.directory}/adding; while [ -e ${hold} ]; do sleep 0.02; done; sed 's/.*"prevResult"://; s/}$//'`,
  );
  await fixture.useNetwork([{ type: 'slow' }]);
  writeFileSync(hold, '');
  const service = await fixture.open(collecting(fixture, { gcInterval: 20, native: 'exec' }));
  await service.recover(fixture.operation());
  const making = run(service, fixture);
  await until(() => existsSync(join(fixture.directory, 'adding')));
  const held = await fixture.addresses();
  assert.equal(held.length, 2);
  await sleep(500); // many rounds
  assert.deepEqual(await fixture.addresses(), held);
  rmSync(hold);
  assert.equal(service.get(await making)?.state, 'ready');
});

/** The containers that a GC was told of. */
const named = (file: string): string[] =>
  (given(file)['cni.dev/valid-attachments'] as { containerID: string }[])
    .map(({ containerID }) => containerID)
    .sort();

test('GC names owners of addresses that are no pods of crisp, until two rounds have found nothing of them', async () => {
  await using fixture = await PodsFixture.make();
  const [file, directory] = [join(fixture.directory, 'gc'), join(fixture.directory, 'ipam/test')];
  await fixture.plugin('keeps', collector(fixture));
  const ipam = { ...hostLocal(fixture, 'ipam'), ranges: [[{ subnet: '10.251.0.0/24' }]] };
  await fixture.useNetwork([], { cniVersion: '1.1.0', plugins: [{ type: 'keeps', ipam }] });
  await mkdir(directory, { recursive: true });
  const lost = newSandboxId(); // or one that another runtime is just making: its process is yet to come
  await writeFile(join(directory, '10.251.0.77'), 'alloc-1\r\neth0');
  await writeFile(join(directory, '10.251.0.78'), `${lost}\r\neth0`);
  const service = await fixture.open(collecting(fixture, { gcInterval: 40, gcRecheck: 1_000 }));
  await service.recover(fixture.operation());
  await until(() => existsSync(file));
  assert.deepEqual(named(file), [lost, 'alloc-1'].sort());
  await until(() => named(file).length === 1);
  assert.deepEqual(given(file)['cni.dev/valid-attachments'], [{ containerID: 'alloc-1', ifname: 'eth0' }]);
});

const hostLocal = ({ directory }: PodsFixture, name: string) => ({
  type: 'host-local',
  dataDir: join(directory, name),
});

test('two directories that have different networks of one name: a GC of each names the pods of both, and both release', {
  timeout: 60_000,
}, async () => {
  await using fixture = await PodsFixture.make();
  const confDir = join(fixture.directory, 'vm.d');
  await mkdir(confDir);
  for (const [type, ipam] of [
    ['keeps-vm', 'ipam-vm'],
    ['keeps', 'ipam'],
  ] as const) {
    const file = join(fixture.directory, type);
    await fixture.plugin(
      type,
      `case $CNI_COMMAND in GC) cat > ${file}.new; mv ${file}.new ${file} ;; ADD) echo '${RESULT}' ;; DEL) rm -f ${fixture.directory}/${ipam}/test/10.251.0.78 ;; esac`,
    );
    const plugins = [{ type, ipam: hostLocal(fixture, ipam) }];
    await fixture.useNetwork([], { cniVersion: '1.1.0', plugins });
    if (type === 'keeps-vm')
      await rename(
        join(fixture.options.network.confDir, '10-test.conflist'),
        join(confDir, '10-test.conflist'),
      );
  }
  const kept: string[] = [];
  for (const ipam of ['ipam', 'ipam-vm']) {
    const directory = join(fixture.directory, ipam, 'test');
    await mkdir(directory, { recursive: true });
    kept.push(`alloc-${ipam}`);
    await writeFile(join(directory, '10.251.0.77'), `alloc-${ipam}\r\neth0`);
    await writeFile(join(directory, '10.251.0.78'), `${newSandboxId()}\r\neth0`);
  }
  const handlers = { crun: { sandbox: 'pause' }, vm: { sandbox: 'pause', confDir } } as const;
  const service = await fixture.open({ handlers, ...collecting(fixture, { gcInterval: 40 }) });
  for (const runtimeHandler of ['crun', 'vm'])
    kept.push(await service.run({ config: fixture.config(), runtimeHandler }, fixture.operation()));
  await service.recover(fixture.operation());
  for (const type of ['keeps', 'keeps-vm']) {
    const file = join(fixture.directory, type);
    await until(() => existsSync(file) && named(file).length === kept.length);
    assert.deepEqual(named(file), [...kept].sort(), type);
  }
  for (const ipam of ['ipam', 'ipam-vm'])
    await until(() => !existsSync(join(fixture.directory, ipam, 'test/10.251.0.78')));
  assert.deepEqual(service.leaks(), []);
});

test('a pod whose record is broken leaves the network of its handler, by the interface that owns the address', async () => {
  await using fixture = await PodsFixture.make();
  const confDir = join(fixture.directory, 'vm.d');
  await mkdir(confDir);
  await rename(join(fixture.options.network.confDir, '10-test.conflist'), join(confDir, '10-test.conflist'));
  await fixture.plugin('common', 'exit 0');
  await fixture.useNetwork([], { name: 'common', plugins: [{ type: 'common' }] });
  const handlers = { crun: { sandbox: 'pause', confDir } } as const;
  const first = await fixture.open({ handlers });
  const id = await first.run({ config: fixture.config(), runtimeHandler: 'crun' }, fixture.operation());
  await first.close();
  assert.equal((await fixture.addresses()).length, 2);
  const { root, state } = fixture.options;
  rmSync(join(state, 'records'), { recursive: true, force: true });
  writeFileSync(join(root, 'sandboxes', id, 'record.json'), '{');
  const service = await fixture.open({ handlers });
  await service.recover(fixture.operation());
  await until(async () => (await fixture.addresses()).length === 0);
});
