/** Undos that fail for good: the pod ends all the same, and what it may have left is listed. With the real CNI plugins. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { type Log, silentLog } from '#core/operation.ts';
import {
  allCapableHandlers,
  noContainers,
  openPodSandboxes,
  type PodSandboxes,
  type PodSandboxOptions,
} from '#pod-sandbox/index.ts';
import { PodsFixture } from './pods-fixture.ts';

const exec = (fixture: PodsFixture): Partial<PodSandboxOptions> => ({
  network: { ...fixture.options.network, native: 'exec' },
});

const run = (service: PodSandboxes, fixture: PodsFixture) =>
  service.run({ config: fixture.config(), runtimeHandler: '' }, fixture.operation());

const write = (fixture: PodsFixture, list: object) =>
  writeFile(join(fixture.options.network.confDir, '10-test.conflist'), JSON.stringify(list));

async function settles<T>(what: string, probe: () => T | Promise<T>): Promise<void> {
  for (let polls = 0; polls < 3000; polls++) {
    if (await probe()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
}

const ipam = (fixture: PodsFixture, changes: object = {}) => ({
  type: 'host-local',
  subnet: '10.251.0.0/24',
  dataDir: join(fixture.directory, 'ipam'),
  ...changes,
});

const mistakes: readonly [string, (fixture: PodsFixture) => object][] = [
  ['a misspelt plugin', () => ({ plugins: [{ type: 'brigde' }] })],
  [
    'a misspelt member of a chain',
    (fixture) => ({
      plugins: [
        { type: 'bridge', bridge: fixture.bridge, ipam: ipam(fixture) },
        { type: 'portmapp', capabilities: { portMappings: true } },
      ],
    }),
  ],
  [
    'a misspelt ipam',
    (fixture) => ({
      plugins: [{ type: 'bridge', bridge: fixture.bridge, ipam: ipam(fixture, { type: 'host-locale' }) }],
    }),
  ],
  [
    'a subnet of 244 bits',
    (fixture) => ({
      plugins: [
        { type: 'bridge', bridge: fixture.bridge, ipam: ipam(fixture, { subnet: '10.251.0.0/244' }) },
      ],
    }),
  ],
  [
    'macvlan without its master',
    (fixture) => ({ plugins: [{ type: 'macvlan', master: 'nolink0', ipam: ipam(fixture) }] }),
  ],
  [
    'a version that the plugin does not know',
    (fixture) => ({
      cniVersion: '1.1.0',
      plugins: [{ type: 'bridge', bridge: fixture.bridge, ipam: ipam(fixture) }],
    }),
  ],
];

for (const [name, list] of mistakes) {
  for (const way of ['auto', 'exec'] as const) {
    for (const after of ['as it is', 'fixed', 'restarted'] as const) {
      test(`${name}, network ${way}, file ${after}: the run fails, stop and remove succeed, nothing is left`, async () => {
        await using fixture = await PodsFixture.make();
        const changes = { network: { ...fixture.options.network, native: way } };
        await write(fixture, { cniVersion: '1.0.0', name: 'test', ...list(fixture) });
        let service = await fixture.open(changes);
        await assert.rejects(run(service, fixture), (error) => error instanceof CrispError);
        const left = service.list().map(({ id }) => id);
        if (after === 'fixed') await fixture.useNetwork();
        if (after === 'restarted') {
          await service.close();
          service = await fixture.open(changes);
          await service.recover(fixture.operation());
        }
        for (const id of left) {
          await service.stop(id, fixture.operation());
          await service.remove(id, fixture.operation());
        }
        assert.deepEqual([service.list(), service.leaks(), await fixture.leftovers()], [[], [], []]);
        assert.deepEqual(left, [], 'the rollback has ended it');
      });
    }
  }
}

/** A pod whose list ends with a test plugin, and a stop whose DEL runs the script. */
async function started(fixture: PodsFixture): Promise<[PodSandboxes, SandboxId]> {
  const pass = `[ "$CNI_COMMAND" = DEL ] || sed 's/.*"prevResult"://; s/}$//'`;
  await fixture.plugin('ours', pass);
  await fixture.useNetwork([{ type: 'ours' }]);
  const service = await fixture.open(exec(fixture));
  return [service, await run(service, fixture)];
}

test('DEL of every plugin is called, also after one that fails: the address is released at once', async () => {
  await using fixture = await PodsFixture.make();
  const [service, id] = await started(fixture);
  await fixture.plugin('ours', 'echo "no way" >&2; exit 4');
  await assert.rejects(service.stop(id, fixture.operation()), /network.*ours.*no way.*try 1 of 3/);
  assert.deepEqual(await fixture.addresses(), []);
  assert.notEqual(service.get(id)?.network.namespace, undefined);
  await assert.rejects(service.stop(id, fixture.operation()), /try 2 of 3/);
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
  const [leak] = service.leaks();
  assert.deepEqual([leak?.id, leak?.kinds, leak?.tries], [id, ['network'], 3]);
  assert.match(leak?.error ?? '', /ours.*no way/);
});

test('the namespace stays pinned until the network is given up; tries and leaks outlive a restart', async () => {
  await using fixture = await PodsFixture.make();
  const [first, id] = await started(fixture);
  const net = first.get(id)?.network.namespace ?? '';
  await fixture.plugin('ours', `echo "$CNI_NETNS" >> ${fixture.directory}/seen; exit 4`);
  await assert.rejects(first.stop(id, fixture.operation()), /try 1 of 3/);
  await first.close();
  const second = await fixture.open(exec(fixture));
  await second.recover(fixture.operation()); // the stop that was begun goes on: the second try
  await second.stop(id, fixture.operation());
  assert.deepEqual((await readFile(join(fixture.directory, 'seen'), 'utf8')).trim().split('\n'), [
    net,
    net,
    net,
  ]);
  await second.remove(id, fixture.operation());
  assert.deepEqual(await fixture.leftovers(), []);
  assert.equal(second.leaks().length, 1);
  await second.close();
  await fixture.plugin('ours', 'exit 0');
  const third = await fixture.open(exec(fixture));
  assert.equal(third.leaks()[0]?.id, id);
  await third.recover(fixture.operation());
  await settles('the leak is undone in the background', () => third.leaks().length === 0);
  assert.deepEqual(await readdir(join(fixture.options.root, 'leaks/sandboxes')), []);
});

test('a leak that an earlier crisp has listed, with one attachment, is undone', async () => {
  await using fixture = await PodsFixture.make();
  const [first, id] = await started(fixture);
  const marker = join(fixture.directory, 'deleted');
  await fixture.plugin('ours', 'exit 4');
  for (let tries = 0; tries < 2; tries++) await assert.rejects(first.stop(id, fixture.operation()), /ours/);
  await first.stop(id, fixture.operation());
  await first.remove(id, fixture.operation());
  await first.close();
  const path = join(fixture.options.root, 'leaks/sandboxes', id, 'record.json');
  const leak = JSON.parse(await readFile(path, 'utf8'));
  const { attachments, ...record } = leak.record;
  assert.equal(attachments.length, 1);
  await writeFile(
    path,
    JSON.stringify({ ...leak, record: { ...record, version: 2, attachment: attachments[0] } }),
  );
  await fixture.plugin('ours', `echo "$CNI_CONTAINERID" > ${marker}`);
  const service = await fixture.open(exec(fixture));
  await service.recover(fixture.operation());
  await settles('the leak is undone in the background', () => service.leaks().length === 0);
  assert.equal((await readFile(marker, 'utf8')).trim(), id);
});

test('a try that fails is only in its error; what is given up is logged once', async () => {
  await using fixture = await PodsFixture.make();
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields, text) => warnings.push(text), child: () => log };
  const [first, id] = await started(fixture);
  await first.close();
  await fixture.plugin('ours', 'exit 4');
  const service = await fixture.open(exec(fixture), noContainers, log);
  const stop = () => service.stop(id, fixture.operation({ log }));
  await assert.rejects(stop(), /ours/);
  await assert.rejects(stop(), /ours/);
  assert.deepEqual(warnings, []);
  await stop();
  assert.equal(warnings.length, 1, warnings.join());
});

test('a plugin that is missing: given up at the first stop, the others are called', async () => {
  await using fixture = await PodsFixture.make();
  const [service, id] = await started(fixture);
  await rm(join(fixture.directory, 'plugins/ours'));
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /ours.*it is not in/);
});

test('a plugin that hangs in DEL: killed at its deadline, given up at the third stop', async () => {
  await using fixture = await PodsFixture.make();
  const [first, id] = await started(fixture);
  await first.close();
  await fixture.plugin('ours', 'exec sleep 1000');
  const service = await fixture.open({ ...exec(fixture), deadlines: { networkDel: 5000 } });
  await service.recover(fixture.operation());
  await assert.rejects(service.stop(id, fixture.operation()), /CNI DEL ours: no end/);
  await assert.rejects(service.stop(id, fixture.operation()), /try 2 of 3/);
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /CNI DEL ours: no end/);
  await fixture.plugin('ours', 'exit 0');
});

test('after a reboot DEL fails without the namespace: tried, then given up', async () => {
  await using fixture = await PodsFixture.make();
  const [first, id] = await started(fixture);
  await fixture.plugin('ours', '[ -n "$CNI_NETNS" ] || { echo "netns is empty" >&2; exit 1; }');
  const { process } = first.get(id) ?? {};
  await first.close();
  const path = join(fixture.options.root, 'sandboxes', id, 'record.json');
  const record = (await readFile(path, 'utf8')).replaceAll(fixture.kernel.processes.bootId, 'another-boot');
  await writeFile(path, record);
  const service = await fixture.open(exec(fixture));
  await service.recover(fixture.operation());
  await service.stop(id, fixture.operation());
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), await fixture.addresses()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /netns is empty/);
  if (process) fixture.kernel.processes.signal(process, 9);
});

test('a daemon that dies before a failed ADD is undone: tried by the next one, then given up', async () => {
  await using fixture = await PodsFixture.make();
  const [first, id] = await started(fixture);
  const { process } = first.get(id) ?? {};
  await first.close();
  const path = join(fixture.options.root, 'sandboxes', id, 'record.json');
  const record = JSON.parse(await readFile(path, 'utf8'));
  const { result: _, ...attachment } = record.attachments[0];
  const config = { ...attachment.config, plugins: [{ type: 'brigde' }] };
  record.attachments = [{ ...attachment, config, ips: [] }];
  record.state = { name: 'creating' };
  await writeFile(path, JSON.stringify(record));
  const service = await fixture.open(exec(fixture));
  await service.recover(fixture.operation());
  assert.deepEqual(service.list(), []);
  assert.match(service.leaks()[0]?.error ?? '', /brigde/);
  if (process) assert.ok(!fixture.kernel.processes.signal(process, 9), 'the pause process has been ended');
});

test('a failed ADD whose outcome is not known needs its DEL; after one that reported an error a failed DEL is ignored', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.plugin('dies', 'kill -9 $$');
  await fixture.useNetwork([{ type: 'dies' }]);
  const service = await fixture.open(exec(fixture));
  await assert.rejects(run(service, fixture), /signal 9/);
  const [{ id } = assert.fail('it is not listed')] = service.list();
  assert.deepEqual([await fixture.addresses(), await fixture.veths()], [[], []]);
  await assert.rejects(service.stop(id, fixture.operation()), /try 2 of 3/);
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), await fixture.leftovers()], [[], []]);
  assert.deepEqual(
    service.leaks().map((leak) => leak.id),
    [id],
  );
});

test('crisp’s own network: iptables is gone: the pod is removed, its address is released, its rules are removed from nf_tables', async () => {
  await using fixture = await PodsFixture.make();
  await fixture.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const native = { ...fixture.options.network, native: 'auto' as const };
  const first = await fixture.open({ network: native });
  const portMappings = [{ protocol: 'tcp', hostPort: 7653, containerPort: 80, hostIp: '' }] as const;
  const id = await first.run(
    { config: fixture.config({ portMappings }), runtimeHandler: '' },
    fixture.operation(),
  );
  await first.close();
  await mkdir(join(fixture.directory, 'empty'));
  const environment = { PATH: join(fixture.directory, 'empty') };
  const second = await fixture.open({ network: { ...native, environment } });
  await second.recover(fixture.operation());
  await second.stop(id, fixture.operation());
  await second.remove(id, fixture.operation());
  assert.deepEqual([second.list(), await fixture.leftovers()], [[], []]);
  assert.deepEqual(second.leaks(), []);
  assert.ok(!(await fixture.run('iptables-save')).includes('7653'));
});

test('a directory with another program’s mount: given up at the third stop, and undone once it is unmounted', async () => {
  await using fixture = await PodsFixture.make();
  const service = await fixture.open();
  const id = await run(service, fixture);
  // What is bound over the directory keeps it from being removed.
  const held = join(fixture.options.state, 'sandboxes', id, 'held');
  await mkdir(held);
  await fixture.kernel.mounts.tmpfs({ target: held });
  await assert.rejects(service.stop(id, fixture.operation()), /directory.*try 1 of 3/);
  await assert.rejects(service.remove(id, fixture.operation()), /try 2 of 3/);
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), service.leaks()[0]?.kinds], [[], ['directory']]);
  await service.close();
  await fixture.kernel.mounts.unmount(held);
  const next = await fixture.open();
  await next.recover(fixture.operation());
  await settles('the directory is removed', () => next.leaks().length === 0);
  assert.deepEqual(await fixture.leftovers(), []);
});

test('a cgroup that cannot be removed, as with a process in state D: given up, and removed when it can be', async () => {
  await using fixture = await PodsFixture.make();
  let busy = true;
  const refuse = async () => {
    throw new CrispError('KernelRefused', 'remove cgroup: EBUSY', { errno: 'EBUSY' });
  };
  const cgroups = new Proxy(fixture.kernel.cgroups, {
    get: (target, key) => {
      if (key === 'remove' && busy) return refuse;
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const kernel = new Proxy(fixture.kernel, {
    get: (target, key) => (key === 'cgroups' ? cgroups : Reflect.get(target, key, target)),
  });
  const open = () =>
    openPodSandboxes(fixture.options, kernel, silentLog, {
      containers: noContainers,
      handlers: allCapableHandlers,
    });
  const service = await open();
  const id = await run(service, fixture);
  await assert.rejects(service.stop(id, fixture.operation()), /cgroup: .*EBUSY.*try 1 of 3/);
  assert.deepEqual([await fixture.addresses(), fixture.kernel.mounts.below(fixture.options.state)], [[], []]);
  await assert.rejects(service.remove(id, fixture.operation()), /try 2 of 3/);
  await service.remove(id, fixture.operation());
  assert.deepEqual([service.list(), service.leaks()[0]?.kinds], [[], ['cgroup']]);
  await service.close();
  busy = false;
  const next = await open();
  await next.recover(fixture.operation());
  await settles('the cgroup is removed', () => next.leaks().length === 0);
  assert.deepEqual(await fixture.leftovers(), []);
  await next.close();
});
