/** The walk that labels a volume. Here the kernel may have no SELinux: the label is then an attribute like others. */
import assert from 'node:assert/strict';
import { mkdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import { hasCode } from '#core/errors.ts';
import { mounts } from '#linux/mount/mounts.ts';
import { RealSelinux } from '#linux/selinux/selinux.ts';
import { parseContexts } from '#linux/selinux/status.ts';
import { RelabelThreads } from '#linux/selinux/threads.ts';
import { relabelTree } from '#linux/selinux/walk.ts';
import { scratch } from './scratch.ts';

const LABEL = 'system_u:object_r:container_file_t:s0:c1,c2';
const selinux = new RealSelinux();
after(() => selinux[Symbol.asyncDispose]());
const soon = () => AbortSignal.timeout(20_000);

function volume(t: Parameters<typeof scratch>[0], files: number): string {
  const root = scratch(t, mounts);
  for (let n = 0; n < files; n++) writeFileSync(join(root, `${n}`), '');
  return root;
}

test('what is mounted in a volume keeps its labels', async (t) => {
  const root = volume(t, 1);
  for (const name of ['tmpfs', 'bound', 'other']) mkdirSync(join(root, name));
  await mounts.tmpfs({ target: join(root, 'tmpfs') });
  writeFileSync(join(root, 'tmpfs/file'), '');
  await mounts.bind({ source: join(root, 'other'), target: join(root, 'bound') });
  const before = await selinux.labelOf(join(root, 'tmpfs'));
  assert.deepEqual(await selinux.relabel(root, LABEL, soon()), { kind: 'labelled', entries: 3, changed: 3 });
  assert.equal(await selinux.labelOf(join(root, 'tmpfs')), before);
  assert.equal(await selinux.labelOf(join(root, 'tmpfs/file')), before);
  assert.equal(await selinux.labelOf(join(root, 'other')), LABEL);
});

test('the root is labelled last, so that a walk that was ended is continued', async (t) => {
  const root = volume(t, 20);
  let left = 10;
  const end = () => {
    if (left-- === 0) throw new Error('ended');
  };
  assert.throws(() => relabelTree(root, LABEL, end), /ended/);
  assert.notEqual(await selinux.labelOf(root), LABEL);
  assert.deepEqual(await selinux.relabel(root, LABEL, soon()), {
    kind: 'labelled',
    entries: 21,
    changed: 11,
  });
});

test('a caller that leaves ends the walk; the thread takes the next one', async (t) => {
  const [many, few] = [volume(t, 5000), volume(t, 1)];
  await using threads = new RelabelThreads();
  const leaving = new AbortController();
  const seen: number[] = [];
  const walk = threads.run(many, LABEL, leaving.signal, ({ entries }) => {
    seen.push(entries);
    leaving.abort();
  });
  await assert.rejects(walk, (error) => hasCode(error, 'Cancelled') && error.message.includes(many));
  assert.deepEqual(seen, [1000]);
  assert.equal((await threads.run(few, LABEL, soon())).kind, 'labelled');
  assert.notEqual(await selinux.labelOf(many), LABEL);
});

test('more walks than threads: the others wait for one', async (t) => {
  await using threads = new RelabelThreads();
  const roots = Array.from({ length: 9 }, () => volume(t, 3));
  const left = new AbortController();
  const walks = roots.map((root, n) => threads.run(root, LABEL, n === 5 ? left.signal : soon()));
  left.abort();
  const outcomes = await Promise.allSettled(walks);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    roots.map((_root, n) => (n === 5 ? 'rejected' : 'fulfilled')),
  );
});

test('a file system without labels is no error', async () => {
  assert.equal(await selinux.labelOf('/proc/self/status'), undefined);
  assert.equal(await selinux.setLabel('/proc/self/status', LABEL), false);
  assert.deepEqual(await selinux.relabel('/proc/self/attr', LABEL, soon()), { kind: 'unsupported' });
});

test('lxc_contexts, with comments and without quotes', () => {
  const text =
    '# x = "y"\n; a=b\nprocess = "system_u:system_r:container_t:s0"\n\nro_file=b:c:d\nempty =\nfile= "e"\n';
  assert.deepEqual(
    [...parseContexts(text)],
    [
      ['process', 'system_u:system_r:container_t:s0'],
      ['ro_file', 'b:c:d'],
      ['file', 'e'],
    ],
  );
});
