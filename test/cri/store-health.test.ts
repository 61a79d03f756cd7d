/** A root directory that takes no writes any more: every path of health says so, and Status where pods cannot be made. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { endsClean, TestNode, until } from '../harness/pods.ts';
import { freePort } from '../image-service/registry.ts';

const metrics = `127.0.0.1:${await freePort()}`;
let root = '';
const run = (program: string, ...args: readonly string[]): void => {
  const { status, stderr } = spawnSync(program, args, { encoding: 'utf8' });
  assert.equal(status, 0, stderr);
};
const node = await TestNode.start('store', {
  metrics,
  prepare: (directory) => {
    root = join(directory, 'root');
    mkdirSync(root, { recursive: true });
    run('mount', '-t', 'tmpfs', '-o', 'size=64m', 'test-disk', root);
  },
});
const get = async (path: string): Promise<[number, string]> => {
  const response = await fetch(`http://${metrics}${path}`);
  return [response.status, await response.text()];
};
const runtimeReady = async () =>
  (await node.client.Status({})).status?.conditions.find(({ type }) => type === 'RuntimeReady');
const PATHS = ['/livez', '/readyz', '/healthz'] as const;

test('while it takes writes all is well, and nothing of the trials stays', async () => {
  for (const path of PATHS) assert.deepEqual(await get(path), [200, 'ok\n']);
  await until('the trial is gone', () => !readdirSync(root).includes('.write-probe'));
});

test('read-only: 503 with the reason on all paths, RuntimeReady is false with the remedy; both end with it', async () => {
  // The lock is open for writing, which keeps the disk itself from a change that the kernel makes after an error.
  run('mount', '--bind', root, root);
  run('mount', '-o', 'remount,bind,ro', root);
  for (const path of PATHS) {
    await until(`${path} fails`, async () => (await get(path))[0] === 503);
    assert.match((await get(path))[1], /crisp\/root.*EROFS/);
  }
  const condition = await until('it is a trouble', async () => {
    const found = await runtimeReady();
    return found?.status === false ? found : undefined;
  });
  assert.equal(condition.reason, 'StoreUnwritable');
  assert.match(condition.message, /EROFS.*; see the kernel log .*read-write again/);
  assert.match((await get('/metrics'))[1], /crisp_troubles\{reason="StoreUnwritable",pods_fail="true"\} 1/);
  run('umount', root);
  for (const path of PATHS) await until(`${path} is well`, async () => (await get(path))[0] === 200);
  assert.equal((await runtimeReady())?.status, true);
});

test('full: 503 with the reason, and a trouble of a node that stays Ready: the kubelet sees to it', async () => {
  const file = join(root, 'filler');
  spawnSync('dd', ['if=/dev/zero', `of=${file}`, 'bs=64k']);
  await until('/healthz fails', async () => (await get('/healthz'))[0] === 503);
  assert.match((await get('/healthz'))[1], /ENOSPC/);
  const condition = await runtimeReady();
  assert.deepEqual([condition?.status, condition?.reason], [true, 'StoreUnwritable']);
  rmSync(file);
  await until('/healthz is well', async () => (await get('/healthz'))[0] === 200);
  writeFileSync(file, '');
  rmSync(file);
  const pod = await node.runPod();
  await node.run(pod);
});

endsClean(node);
