import assert from 'node:assert/strict';
import { mkdir, mkdtemp, rename, rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { Inotify } from '#linux/inotify.ts';
import { ConfDirectory } from './conf-directory.ts';

const conf = (name: string): string =>
  JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] });

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'crisp-conf-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function open(t: TestContext, path: string): ConfDirectory {
  const networks = new ConfDirectory(path, silentLog, new Inotify(silentLog));
  t.after(() => networks.close());
  return networks;
}

test('a missing directory is no failure, and is found when it appears', async (t) => {
  const path = join(await directory(t), 'net.d');
  const networks = open(t, path);
  await networks.refresh();
  const { ready, reason, message } = networks.status();
  assert.deepEqual([ready, reason], [false, 'NetworkPluginNotReady']);
  assert.ok(message.includes(path) && message.includes('install'), message);
  await assert.rejects(networks.current(), (error) => hasCode(error, 'NetworkFailed'));
  await mkdir(path);
  await writeFile(join(path, '10.conflist'), conf('a'));
  assert.equal((await networks.current()).name, 'a');
  assert.deepEqual(networks.status(), { ready: true, reason: '', message: '' });
});

test('the first by name decides, also when it is broken', async (t) => {
  const path = await directory(t);
  await writeFile(join(path, '20-b.conf'), JSON.stringify({ cniVersion: '0.3.1', name: 'b', type: 'ptp' }));
  await writeFile(join(path, '05-readme.txt'), 'not a configuration');
  const networks = open(t, path);
  assert.equal((await networks.current()).name, 'b');
  await writeFile(join(path, '10-a.conflist'), '{');
  await assert.rejects(networks.current(), /10-a\.conflist/);
  await writeFile(join(path, '10-a.new'), conf('a'));
  await rename(join(path, '10-a.new'), join(path, '10-a.conflist'));
  assert.equal((await networks.current()).name, 'a');
  await rm(join(path, '10-a.conflist'));
  assert.equal((await networks.current()).name, 'b');
});

test('a change is seen without being asked for', async (t) => {
  const path = await directory(t);
  const networks = open(t, path);
  await networks.refresh();
  await writeFile(join(path, '10.conflist'), conf('a'));
  while (!networks.status().ready) await new Promise((resolve) => setTimeout(resolve, 5));
});
