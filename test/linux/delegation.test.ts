/**
 * cgroup v2 as a container has it, where the machine has a cgroup2 tree with a controller: the daemon's group is the root
 * of its cgroup namespace, and processes are in that group itself.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { setTimeout as sleep } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { CgroupsV2 } from '#linux/cgroup/v2.ts';

const tree = ['/sys/fs/cgroup/unified', '/sys/fs/cgroup'].find((path) =>
  existsSync(`${path}/cgroup.controllers`),
);
const controllers = tree ? readFileSync(`${tree}/cgroup.subtree_control`, 'utf8').trim() : '';
const skip = controllers === '' ? 'no cgroup2 tree with a controller here' : false;
const prefix = `${process.env['CRISP_TEST_CGROUP'] ?? '/crisp-test'}-delegation`;
const soon = () => AbortSignal.timeout(20_000);

/** Runs the child as a container's first process beside others of the same group. */
async function inContainer(name: string, mode: 'open' | 'delegated' | 'foreign') {
  const box = `${tree}${prefix}-${name}`;
  mkdirSync(box);
  const mount = join(process.env['CRISP_TEST_DIR'] ?? '/tmp', `cgroup-${name}`);
  mkdirSync(mount);
  const script = `echo $$ > ${box}/cgroup.procs
    sleep 1000 >/dev/null 2>&1 & beside=$!
    unshare --cgroup --mount --propagation private sh -c '
      umount -l /sys/fs/cgroup; mount -t cgroup2 none ${mount} && exec "$@"' sh "$@"
    kill $beside`;
  const child = [process.execPath, join(import.meta.dirname, 'delegation-child.ts'), mount, mode];
  const { stdout, stderr, status } = spawnSync('sh', ['-c', script, 'sh', ...child], {
    encoding: 'utf8',
    timeout: 60_000,
  });
  await new CgroupsV2(tree ?? '').remove(`${prefix}-${name}`, soon());
  rmdirSync(mount);
  assert.equal(stderr, '');
  assert.ok(stdout, `ended with ${status}`);
  return JSON.parse(stdout);
}

for (const mode of ['open', 'delegated'] as const) {
  test(`${mode}: the processes of a container's own group are moved into a leaf, and pods are made`, {
    skip,
  }, async () => {
    const seen = await inContainer(mode, mode);
    assert.deepEqual([seen.error, seen.trouble], [undefined, undefined]);
    assert.deepEqual([seen.own, seen.left], ['/crisp/pod', 0]);
    assert.deepEqual(seen.handedDown.split(' ').sort(), controllers.split(' ').sort());
  });
}

test('processes of a group that is not ours stay: the error and Status name them and what to do', {
  skip,
}, async () => {
  const seen = await inContainer('foreign', 'foreign');
  assert.equal(seen.error.errno, 'EBUSY');
  assert.match(seen.error.message, /processes are in the group itself \(.*\d+ sleep/);
  assert.deepEqual([seen.trouble.reason, seen.trouble.podsFail], ['CgroupsUnusable', true]);
  assert.match(seen.trouble.hint, /cgroup\.parent/);
  assert.ok(seen.left >= 2);
});

test('a threaded parent is named, with its remedy; when it is no more, pods can be made', {
  skip,
}, async (t) => {
  const cgroups = new CgroupsV2(tree ?? '');
  t.after(() => cgroups.remove(prefix, soon()));
  await cgroups.createChild(prefix);
  await cgroups.createChild(`${prefix}/threads`);
  writeFileSync(`${tree}${prefix}/threads/cgroup.type`, 'threaded');
  await assert.rejects(cgroups.create(`${prefix}/pod/ctr`), (error) => {
    assert.ok(hasCode(error, 'FailedPrecondition'));
    assert.match(error.message, /is threaded \(cgroup\.type "domain threaded"\)/);
    assert.match(error.hint, /cgroup\.parent/);
    return true;
  });
  await cgroups.prepare(`${prefix}/crisp`);
  assert.equal(cgroups.trouble?.podsFail, true);
  for (const name of ['crisp', 'pod', 'threads']) await cgroups.remove(`${prefix}/${name}`, soon());
  for (const limit = Date.now() + 30_000; cgroups.trouble && Date.now() < limit; ) await sleep(50);
  assert.equal(cgroups.trouble, undefined);
  await cgroups.create(`${prefix}/pod/ctr`);
});
