/** Undos that fail for good: the pod ends all the same, and what it may have left is listed. With the real CNI plugins. */
import assert from 'node:assert/strict';
import { mkdir, readdir, readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import { type Log, silentLog } from '#core/operation.ts';
import {
  ableHandlers,
  noContainers,
  openPodSandboxes,
  type PodSandboxes,
  type PodSandboxOptions,
} from '#pod-sandbox/index.ts';
import { Stand } from './stand.ts';

const exec = (stand: Stand): Partial<PodSandboxOptions> => ({
  network: { ...stand.options.network, native: 'exec' },
});

const run = (service: PodSandboxes, stand: Stand) =>
  service.run({ config: stand.config(), runtimeHandler: '' }, stand.operation());

const write = (stand: Stand, list: object) =>
  writeFile(join(stand.options.network.confDir, '10-test.conflist'), JSON.stringify(list));

async function settles<T>(what: string, probe: () => T | Promise<T>): Promise<void> {
  for (let looks = 0; looks < 3000; looks++) {
    if (await probe()) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
  assert.fail(what);
}

const ipam = (stand: Stand, changes: object = {}) => ({
  type: 'host-local',
  subnet: '10.251.0.0/24',
  dataDir: join(stand.directory, 'ipam'),
  ...changes,
});

const mistakes: readonly [string, (stand: Stand) => object][] = [
  ['a misspelt plugin', () => ({ plugins: [{ type: 'brigde' }] })],
  [
    'a misspelt member of a chain',
    (stand) => ({
      plugins: [
        { type: 'bridge', bridge: stand.bridge, ipam: ipam(stand) },
        { type: 'portmapp', capabilities: { portMappings: true } },
      ],
    }),
  ],
  [
    'a misspelt ipam',
    (stand) => ({
      plugins: [{ type: 'bridge', bridge: stand.bridge, ipam: ipam(stand, { type: 'host-locale' }) }],
    }),
  ],
  [
    'a subnet of 244 bits',
    (stand) => ({
      plugins: [{ type: 'bridge', bridge: stand.bridge, ipam: ipam(stand, { subnet: '10.251.0.0/244' }) }],
    }),
  ],
  [
    'macvlan without its master',
    (stand) => ({ plugins: [{ type: 'macvlan', master: 'nolink0', ipam: ipam(stand) }] }),
  ],
  [
    'a version that the plugin does not know',
    (stand) => ({
      cniVersion: '1.1.0',
      plugins: [{ type: 'bridge', bridge: stand.bridge, ipam: ipam(stand) }],
    }),
  ],
];

for (const [name, list] of mistakes) {
  for (const way of ['auto', 'exec'] as const) {
    for (const after of ['as it is', 'mended', 'restarted'] as const) {
      test(`${name}, network ${way}, file ${after}: the run fails, stop and remove succeed, nothing is left`, async () => {
        await using stand = await Stand.make();
        const changes = { network: { ...stand.options.network, native: way } };
        await write(stand, { cniVersion: '1.0.0', name: 'test', ...list(stand) });
        let service = await stand.open(changes);
        await assert.rejects(run(service, stand), (error) => error instanceof CrispError);
        const left = service.list().map(({ id }) => id);
        if (after === 'mended') await stand.useNetwork();
        if (after === 'restarted') {
          await service.close();
          service = await stand.open(changes);
          await service.recover(stand.operation());
        }
        for (const id of left) {
          await service.stop(id, stand.operation());
          await service.remove(id, stand.operation());
        }
        assert.deepEqual([service.list(), service.leaks(), await stand.leftovers()], [[], [], []]);
        assert.deepEqual(left, [], 'the rollback has ended it');
      });
    }
  }
}

/** A pod whose list ends with a plugin of ours, and a stop of which DEL does what the script says. */
async function started(stand: Stand): Promise<[PodSandboxes, SandboxId]> {
  const pass = `[ "$CNI_COMMAND" = DEL ] || sed 's/.*"prevResult"://; s/}$//'`;
  await stand.plugin('ours', pass);
  await stand.useNetwork([{ type: 'ours' }]);
  const service = await stand.open(exec(stand));
  return [service, await run(service, stand)];
}

test('every plugin is asked for DEL, also behind one that fails: the address comes back at once', async () => {
  await using stand = await Stand.make();
  const [service, id] = await started(stand);
  await stand.plugin('ours', 'echo "no way" >&2; exit 4');
  await assert.rejects(service.stop(id, stand.operation()), /network.*ours.*no way.*try 1 of 3/);
  assert.deepEqual(await stand.addresses(), []);
  assert.notEqual(service.get(id)?.network.namespace, undefined);
  await assert.rejects(service.stop(id, stand.operation()), /try 2 of 3/);
  await service.stop(id, stand.operation());
  await service.remove(id, stand.operation());
  assert.deepEqual(await stand.leftovers(), []);
  const [leak] = service.leaks();
  assert.deepEqual([leak?.id, leak?.kinds, leak?.tries], [id, ['network'], 3]);
  assert.match(leak?.error ?? '', /ours.*no way/);
});

test('the namespace stays pinned until the network is given up; tries and leaks outlive a restart', async () => {
  await using stand = await Stand.make();
  const [first, id] = await started(stand);
  const net = first.get(id)?.network.namespace ?? '';
  await stand.plugin('ours', `echo "$CNI_NETNS" >> ${stand.directory}/seen; exit 4`);
  await assert.rejects(first.stop(id, stand.operation()), /try 1 of 3/);
  await first.close();
  const second = await stand.open(exec(stand));
  await second.recover(stand.operation()); // the stop that was begun goes on: the second try
  await second.stop(id, stand.operation());
  assert.deepEqual((await readFile(join(stand.directory, 'seen'), 'utf8')).trim().split('\n'), [
    net,
    net,
    net,
  ]);
  await second.remove(id, stand.operation());
  assert.deepEqual(await stand.leftovers(), []);
  assert.equal(second.leaks().length, 1);
  await second.close();
  await stand.plugin('ours', 'exit 0');
  const third = await stand.open(exec(stand));
  assert.equal(third.leaks()[0]?.id, id);
  await third.recover(stand.operation());
  await settles('the leak is undone in the background', () => third.leaks().length === 0);
  assert.deepEqual(await readdir(join(stand.options.root, 'leaks/sandboxes')), []);
});

test('a try that fails is told by its error alone; what is given up is said once', async () => {
  await using stand = await Stand.make();
  const warnings: string[] = [];
  const log: Log = { ...silentLog, warn: (_fields, text) => warnings.push(text), child: () => log };
  const [first, id] = await started(stand);
  await first.close();
  await stand.plugin('ours', 'exit 4');
  const service = await stand.open(exec(stand), noContainers, log);
  const stop = () => service.stop(id, stand.operation({ log }));
  await assert.rejects(stop(), /ours/);
  await assert.rejects(stop(), /ours/);
  assert.deepEqual(warnings, []);
  await stop();
  assert.equal(warnings.length, 1, warnings.join());
});

test('a plugin that is gone: given up at the first stop, the others are asked', async () => {
  await using stand = await Stand.make();
  const [service, id] = await started(stand);
  await rm(join(stand.directory, 'plugins/ours'));
  await service.stop(id, stand.operation());
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), await stand.leftovers()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /ours.*it is not in/);
});

test('a plugin that hangs in DEL: cut off at its deadline, given up at the third stop', async () => {
  await using stand = await Stand.make();
  const [first, id] = await started(stand);
  await first.close();
  await stand.plugin('ours', 'exec sleep 1000');
  const service = await stand.open({ ...exec(stand), deadlines: { networkDel: 300 } });
  await service.recover(stand.operation());
  await assert.rejects(service.stop(id, stand.operation()), /CNI DEL ours: no end/);
  await assert.rejects(service.stop(id, stand.operation()), /try 2 of 3/);
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), await stand.leftovers()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /CNI DEL ours: no end/);
  await stand.plugin('ours', 'exit 0');
});

test('after a reboot DEL fails without the namespace: tried, then gone', async () => {
  await using stand = await Stand.make();
  const [first, id] = await started(stand);
  await stand.plugin('ours', '[ -n "$CNI_NETNS" ] || { echo "netns is empty" >&2; exit 1; }');
  const { process } = first.get(id) ?? {};
  await first.close();
  const path = join(stand.options.root, 'sandboxes', id, 'record.json');
  const record = (await readFile(path, 'utf8')).replaceAll(stand.kernel.processes.bootId, 'another-boot');
  await writeFile(path, record);
  const service = await stand.open(exec(stand));
  await service.recover(stand.operation());
  await service.stop(id, stand.operation());
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), await stand.addresses()], [[], []]);
  assert.match(service.leaks()[0]?.error ?? '', /netns is empty/);
  if (process) stand.kernel.processes.signal(process, 9);
});

test('a daemon that dies before a failed ADD is undone: tried by the next one, then gone', async () => {
  await using stand = await Stand.make();
  const [first, id] = await started(stand);
  const { process } = first.get(id) ?? {};
  await first.close();
  const path = join(stand.options.root, 'sandboxes', id, 'record.json');
  const record = JSON.parse(await readFile(path, 'utf8'));
  const { result: _, ...attachment } = record.attachment;
  const config = { ...attachment.config, plugins: [{ type: 'brigde' }] };
  record.attachment = { ...attachment, config, ips: [] };
  record.state = { name: 'creating' };
  await writeFile(path, JSON.stringify(record));
  const service = await stand.open(exec(stand));
  await service.recover(stand.operation());
  assert.deepEqual(service.list(), []);
  assert.match(service.leaks()[0]?.error ?? '', /brigde/);
  if (process) assert.ok(!stand.kernel.processes.signal(process, 9), 'the pause process has been ended');
});

test('a failing ADD whose outcome is not known owes its DEL; one that has refused owes nothing', async () => {
  await using stand = await Stand.make();
  await stand.plugin('dies', 'kill -9 $$');
  await stand.useNetwork([{ type: 'dies' }]);
  const service = await stand.open(exec(stand));
  await assert.rejects(run(service, stand), /signal 9/);
  const [{ id } = assert.fail('it is not listed')] = service.list();
  assert.deepEqual([await stand.addresses(), await stand.veths()], [[], []]);
  await assert.rejects(service.stop(id, stand.operation()), /try 2 of 3/);
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), await stand.leftovers()], [[], []]);
  assert.deepEqual(
    service.leaks().map((leak) => leak.id),
    [id],
  );
});

test('crisp’s own network: iptables is gone, the pod goes, its address comes back, its rules are listed', async () => {
  await using stand = await Stand.make();
  await stand.useNetwork([{ type: 'portmap', capabilities: { portMappings: true } }]);
  const native = { ...stand.options.network, native: 'auto' as const };
  const first = await stand.open({ network: native });
  const portMappings = [{ protocol: 'tcp', hostPort: 7653, containerPort: 80, hostIp: '' }] as const;
  const id = await first.run(
    { config: stand.config({ portMappings }), runtimeHandler: '' },
    stand.operation(),
  );
  await first.close();
  await mkdir(join(stand.directory, 'empty'));
  const environment = { PATH: join(stand.directory, 'empty') };
  const second = await stand.open({ network: { ...native, environment } });
  await second.recover(stand.operation());
  await second.stop(id, stand.operation());
  await second.remove(id, stand.operation());
  assert.deepEqual([second.list(), await stand.leftovers()], [[], []]);
  assert.match(second.leaks()[0]?.error ?? '', /iptables/);
  await second.close();
  const third = await stand.open({ network: native });
  await third.recover(stand.operation());
  await settles('the rules are removed', () => third.leaks().length === 0);
  assert.ok(!(await stand.run('iptables-save')).includes('7653'));
});

test('a directory with a foreign mount: given up at the third stop, and undone once it is free', async () => {
  await using stand = await Stand.make();
  const service = await stand.open();
  const id = await run(service, stand);
  // What is bound over the directory keeps it from being removed.
  const held = join(stand.options.state, 'sandboxes', id, 'held');
  await mkdir(held);
  await stand.kernel.mounts.tmpfs({ target: held });
  await assert.rejects(service.stop(id, stand.operation()), /directory.*try 1 of 3/);
  await assert.rejects(service.remove(id, stand.operation()), /try 2 of 3/);
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), service.leaks()[0]?.kinds], [[], ['directory']]);
  await service.close();
  await stand.kernel.mounts.unmount(held);
  const next = await stand.open();
  await next.recover(stand.operation());
  await settles('the directory is removed', () => next.leaks().length === 0);
  assert.deepEqual(await stand.leftovers(), []);
});

test('a cgroup that cannot be removed, as with a process in state D: given up, and removed when it can be', async () => {
  await using stand = await Stand.make();
  let busy = true;
  const refuse = async () => {
    throw new CrispError('KernelRefused', 'remove cgroup: EBUSY', { errno: 'EBUSY' });
  };
  const cgroups = new Proxy(stand.kernel.cgroups, {
    get: (target, key) => {
      if (key === 'remove' && busy) return refuse;
      const value = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
  const kernel = new Proxy(stand.kernel, {
    get: (target, key) => (key === 'cgroups' ? cgroups : Reflect.get(target, key, target)),
  });
  const open = () =>
    openPodSandboxes(stand.options, kernel, silentLog, { containers: noContainers, handlers: ableHandlers });
  const service = await open();
  const id = await run(service, stand);
  await assert.rejects(service.stop(id, stand.operation()), /cgroup: .*EBUSY.*try 1 of 3/);
  assert.deepEqual([await stand.addresses(), stand.kernel.mounts.below(stand.options.state)], [[], []]);
  await assert.rejects(service.remove(id, stand.operation()), /try 2 of 3/);
  await service.remove(id, stand.operation());
  assert.deepEqual([service.list(), service.leaks()[0]?.kinds], [[], ['cgroup']]);
  await service.close();
  busy = false;
  const next = await open();
  await next.recover(stand.operation());
  await settles('the cgroup is removed', () => next.leaks().length === 0);
  assert.deepEqual(await stand.leftovers(), []);
  await next.close();
});
