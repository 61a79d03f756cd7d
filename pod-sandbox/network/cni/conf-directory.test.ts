import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdir, mkdtemp, rename, rm, symlink, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { silentLog } from '#core/operation.ts';
import { RealInotify } from '#linux/fs/inotify.ts';
import { ConfDirectory } from './conf-directory.ts';

const conf = (name: string): string =>
  JSON.stringify({ cniVersion: '1.0.0', name, plugins: [{ type: 'bridge' }] });

async function directory(t: TestContext): Promise<string> {
  const path = await mkdtemp(join(tmpdir(), 'crisp-conf-'));
  t.after(() => rm(path, { recursive: true, force: true }));
  return path;
}

function open(t: TestContext, path: string, network = ''): ConfDirectory {
  const networks = new ConfDirectory(path, silentLog, new RealInotify(silentLog), network);
  t.after(() => networks.close());
  return networks;
}

test('a missing directory is not a failure, and is found when it appears', async (t) => {
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

test('a change is seen without a call', async (t) => {
  const path = await directory(t);
  const networks = open(t, path);
  await networks.refresh();
  await writeFile(join(path, '10.conflist'), conf('a'));
  while (!networks.status().ready) await new Promise((resolve) => setTimeout(resolve, 5));
});

test('what is not a regular file is skipped and reported, and nothing waits for it', async (t) => {
  const path = await directory(t);
  await symlink('/nowhere/at/all', join(path, '01-dangling.conflist'));
  await symlink('02-loop.conf', join(path, '02-loop.conf'));
  await mkdir(join(path, '03-directory.conflist'));
  execFileSync('mkfifo', [join(path, '04-fifo.conflist')]);
  const networks = open(t, path);
  await assert.rejects(
    networks.current(),
    /skipped: 01-dangling.conflist: .*nowhere; 02-loop.conf: .*; 03-directory.conflist: a directory; 04-fifo.conflist: a FIFO/,
  );
  assert.ok(networks.status().message.includes('04-fifo.conflist'));
  await writeFile(join(path, 'real'), conf('a'));
  await symlink('real', join(path, '05-link.conflist'));
  assert.equal((await networks.current()).name, 'a');
  assert.ok(networks.status().ready);
});

test('of a .conf and a .conflist the first by name counts, bytes in order', async (t) => {
  const path = await directory(t);
  const single = JSON.stringify({ cniVersion: '0.3.1', name: 'single', type: 'ptp' });
  await writeFile(join(path, '10-x.conflist'), conf('list'));
  await writeFile(join(path, '10-x.conf'), single);
  await writeFile(join(path, 'Z.conflist'), conf('upper'));
  const networks = open(t, path);
  assert.equal((await networks.current()).name, 'single');
  await rm(join(path, '10-x.conf'));
  assert.equal((await networks.current()).name, 'list');
  await rm(join(path, '10-x.conflist'));
  await writeFile(join(path, 'a.conflist'), conf('lower'));
  assert.equal((await networks.current()).name, 'upper');
});

test('a pinned network is found by its name, whatever files precede it', async (t) => {
  const path = await directory(t);
  await writeFile(join(path, '01-broken.conflist'), '{');
  await writeFile(join(path, '10-a.conflist'), conf('a'));
  const networks = open(t, path, 'b');
  await assert.rejects(networks.current(), /no CNI network b .*01-broken.*10-a.conflist has a/);
  assert.equal(networks.status().ready, false);
  await writeFile(join(path, '20-b.conflist'), conf('b'));
  assert.equal((await networks.current()).name, 'b');
  await writeFile(join(path, '05-b.conflist'), conf('b'));
  assert.match((await networks.current()).source, /05-b/);
});
