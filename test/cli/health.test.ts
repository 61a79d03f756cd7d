/** Health without an address of the metrics: `crisp status`, as text and as JSON, and the paths of health on the admin socket. */
import assert from 'node:assert/strict';
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, renameSync, rmdirSync } from 'node:fs';
import { request } from 'node:http';
import { join } from 'node:path';
import test from 'node:test';
import type { DaemonStatus } from '#api/admin/contract.ts';
import { endsClean, TestNode, until } from '../harness/pods.ts';

const MAIN = join(import.meta.dirname, '../../cli/main.ts');
const PATHS = ['/livez', '/readyz', '/healthz'] as const;
let root = '';
const run = (program: string, ...args: readonly string[]): void => {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
};
const node = await TestNode.start('health', {
  prepare: (directory) => {
    root = join(directory, 'root');
    mkdirSync(root, { recursive: true });
    run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'test-disk', root);
  },
});
const socketPath = join(node.settings.directory, 'state/admin.sock');

async function status(...args: readonly string[]): Promise<{ code: number | null; out: string }> {
  const argv = [MAIN, 'status', '--admin-socket', socketPath, ...args];
  const child = spawn(process.execPath, argv, { stdio: ['ignore', 'pipe', 'inherit'] });
  let out = '';
  child.stdout.on('data', (piece) => (out += piece));
  const code = await new Promise<number | null>((resolve) => child.once('close', resolve));
  return { code, out };
}
const asJson = async () => JSON.parse((await status('-o', 'json')).out) as DaemonStatus;

const get = (path: string): Promise<[number | undefined, string]> =>
  new Promise((resolve, reject) => {
    request({ socketPath, path }, async (response) => {
      let text = '';
      for await (const piece of response) text += piece;
      resolve([response.statusCode, text]);
    })
      .once('error', reject)
      .end();
  });

test('all is well: live and ready with their times, both conditions, no check with a problem', async () => {
  for (const path of PATHS) await until(`${path} is well`, async () => (await get(path))[0] === 200);
  assert.deepEqual(await get('/livez'), [200, 'ok\n']);
  const { code, out } = await status();
  assert.equal(code, 0);
  for (const name of ['Live', 'Ready', 'RuntimeReady', 'NetworkReady'])
    assert.match(out, new RegExp(`^${name}: +yes$`, 'm'));
  const { live, ready, checks, conditions } = await asJson();
  assert.deepEqual([live.problem, ready.problem], [undefined, undefined]);
  for (const { since } of [live, ready, ...checks]) assert.ok(Date.parse(since) <= Date.now(), since);
  assert.deepEqual(
    checks.map(({ name, problem }) => [name, problem]),
    [
      ['socket', undefined],
      ['event loop', undefined],
      ['root directory', undefined],
    ],
  );
  assert.deepEqual(
    conditions.map(({ type, status }) => [type, status]),
    [
      ['RuntimeReady', true],
      ['NetworkReady', true],
    ],
  );
});

test('a root directory that takes no writes: not live, since when, by which check; and well again', async () => {
  run('mount', '--bind', root, root);
  run('mount', '-o', 'remount,bind,ro', root);
  for (const path of PATHS) {
    await until(`${path} fails`, async () => (await get(path))[0] === 503);
    assert.match((await get(path))[1], /EROFS/);
  }
  const { code, out } = await status();
  assert.equal(code, 1);
  assert.match(out, /^Live: +no, since \S+Z: the root directory .*EROFS/m);
  assert.match(out, /^RuntimeReady: +no: StoreUnwritable$/m);
  const [first, second] = [await asJson(), await asJson()];
  assert.equal(first.live.since, second.live.since);
  assert.match(first.checks.find(({ name }) => name === 'root directory')?.problem ?? '', /EROFS/);
  run('umount', root);
  await until('it is live', async () => (await asJson()).live.problem === undefined);
  assert.match((await status()).out, /^RuntimeReady: +yes$/m);
});

test('no network: live, not ready, and the condition says why', async () => {
  const [conf, away] = ['net.d', 'away'].map((name) => join(node.settings.directory, 'cni', name)) as [
    string,
    string,
  ];
  renameSync(conf, away);
  mkdirSync(conf);
  const found = await until('the network is missed', async () => {
    const now = await asJson();
    return now.ready.problem === undefined ? undefined : now;
  });
  assert.equal(found.live.problem, undefined);
  assert.equal(found.unready, found.ready.problem);
  const condition = found.conditions.find(({ type }) => type === 'NetworkReady');
  assert.deepEqual([condition?.status, condition?.reason], [false, 'NetworkPluginNotReady']);
  assert.deepEqual([(await get('/livez'))[0], (await get('/readyz'))[0]], [200, 503]);
  rmdirSync(conf);
  renameSync(away, conf);
  await until('it is back', async () => (await get('/readyz'))[0] === 200);
});

test('a call of the admin socket that runs is shown beside those of CRI', async () => {
  const archive = request({ socketPath, method: 'POST', path: '/v1/images/import' });
  archive.on('error', () => {});
  archive.write('x');
  await until('it is shown', async () =>
    (await asJson()).operations.some(({ name }) => name === 'ImportImages'),
  );
  archive.destroy();
  await until('it is gone', async () => (await asJson()).operations.length === 0);
});

endsClean(node);
