/** The plugins of the plugin directory, as real processes. */
import assert from 'node:assert/strict';
import { chmodSync, existsSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { nri } from '#api/nri/index.ts';
import { ProcessWatches } from '#linux/process/child.ts';
import { readBootId } from '#linux/process/identity.ts';
import { RealProcesses } from '#linux/process/processes.ts';
import { installPlugin, launchedCalls } from './launched.ts';
import { openRoom, operation, type Room } from './room.ts';

const processes = new RealProcesses(new ProcessWatches(readBootId()), { path: '' }, { warn() {} });

interface Place extends Disposable {
  readonly plugins: string;
  readonly dropIns: string;
  readonly log: string;
  readonly directory: string;
  open(): Promise<Room>;
}

function place(): Place {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-nri-launch-'));
  const [plugins, dropIns] = [join(directory, 'plugins'), join(directory, 'conf.d')];
  return {
    directory,
    plugins,
    dropIns,
    log: join(directory, 'calls'),
    open: () =>
      openRoom({ pluginDirectory: plugins, configDirectory: dropIns, state: directory }, { processes }),
    [Symbol.dispose]() {
      rmSync(directory, { recursive: true });
    },
  };
}

async function until(holds: () => boolean): Promise<void> {
  while (!holds()) await sleep(10);
}

const shown = (room: Room) =>
  room.nri.plugins().map(({ index, name, kind, state }) => `${index}-${name} ${kind} ${state}`);

test('plugins of the directory are started in order, with their configuration; the first creation waits for them', async () => {
  using at = place();
  const create = { adjust: { env: [{ key: 'FROM', value: 'plugin' }] } };
  installPlugin('20-second', at, { log: `${at.log}-2` });
  installPlugin('10-first', at, { log: at.log, create, events: [nri.Event.CREATE_CONTAINER] });
  writeFileSync(join(at.plugins, '30-not-executable'), '#!/bin/sh\n', { mode: 0o644 });
  writeFileSync(join(at.plugins, 'README'), '#!/bin/sh\n', { mode: 0o755 });
  await using room = await at.open();
  const container = room.daemon.begin(room.daemon.addPod());
  const verdict = await room.nri.containers.create(container, operation());
  room.daemon.settle(container);
  assert.deepEqual(verdict?.adjustment.env?.set, { FROM: 'plugin' });
  assert.deepEqual(shown(room), ['10-first launched active', '20-second launched active']);
  assert.deepEqual(
    launchedCalls(at.log).map(({ method }) => method),
    ['Configure', 'Synchronize', 'CreateContainer'],
  );
  const [first] = room.nri.plugins();
  assert.ok(first?.pid && existsSync(`/proc/${first.pid}`));
  assert.match(String((await room.logged(/not an NRI plugin/)).fields['path']), /README/);
});

test('one that ends is started again, and is a trouble meanwhile', async () => {
  using at = place();
  installPlugin('10-crashing', at, { log: at.log, exit: ['CreateContainer'] });
  await using room = await at.open();
  const container = room.daemon.begin(room.daemon.addPod());
  assert.equal(await room.nri.containers.create(container, operation()), undefined);
  room.daemon.settle(container);
  assert.match(room.nri.troubles()[0]?.message ?? '', /10-crashing/);
  await room.logged(/is started again/);
  await until(() => shown(room).includes('10-crashing launched active'));
  assert.deepEqual(room.nri.troubles(), []);
  assert.equal(launchedCalls(at.log).filter(({ method }) => method === 'Configure').length, 2);
});

test('one that cannot be executed is a trouble; the others run', async () => {
  using at = place();
  installPlugin('20-good', at, { log: at.log });
  writeFileSync(join(at.plugins, '10-bad'), 'no program');
  chmodSync(join(at.plugins, '10-bad'), 0o755);
  await using room = await at.open();
  await until(() => shown(room).includes('20-good launched active'));
  assert.match(room.nri.troubles()[0]?.message ?? '', /10-bad/);
});

test('at the end they get Shutdown and end; what does not end is killed', async () => {
  using at = place();
  installPlugin('10-good', at, { log: at.log });
  writeFileSync(join(at.plugins, '20-stubborn'), '#!/bin/sh\ntrap "" TERM\nexec sleep 1000\n', {
    mode: 0o755,
  });
  const room = await at.open();
  await until(() => room.nri.plugins().length === 2);
  const pids = room.nri.plugins().map(({ pid }) => pid);
  assert.equal(pids.filter((pid) => existsSync(`/proc/${pid}`)).length, 2);
  await room[Symbol.asyncDispose]();
  assert.deepEqual(
    pids.filter((pid) => existsSync(`/proc/${pid}`)),
    [],
  );
  assert.equal(launchedCalls(at.log).at(-1)?.method, 'Shutdown');
});

test('what a killed daemon has left is ended before the plugins are started', async () => {
  using at = place();
  const token = 'ab'.repeat(16);
  // As a plugin that does not notice the end of its connection.
  const left = await processes.spawn({
    argv: ['sleep', '1000'],
    env: { CRISP_NRI_TOKEN: token, PATH: '/bin' },
  });
  writeFileSync(join(at.directory, 'nri-plugins-started'), token);
  await using room = await at.open();
  assert.equal((await left.exited).signal, 9);
  assert.deepEqual(shown(room), []);
  await until(() => !existsSync(join(at.directory, 'nri-plugins-started')));
});
