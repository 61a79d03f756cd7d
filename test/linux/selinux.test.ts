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
const FORMER = 'system_u:object_r:container_file_t:s0:c3,c4';
const INTERIM = 'system_u:object_r:container_ro_file_t:s0';
const to = (path: string, label = LABEL) => ({ path, label, interim: INTERIM });
const selinux = new RealSelinux();
after(() => selinux[Symbol.asyncDispose]());
const soon = () => AbortSignal.timeout(20_000);

function volume(t: Parameters<typeof scratch>[0], files: number): string {
  const root = scratch(t, mounts);
  for (let n = 0; n < files; n++) writeFileSync(join(root, `${n}`), '');
  return root;
}

test('a volume without files, and a single file, need no thread', async (t) => {
  const root = volume(t, 1);
  mkdirSync(join(root, 'empty'));
  for (const name of ['0', 'empty']) {
    const one = { kind: 'labelled', entries: 1, changed: 1 };
    assert.deepEqual(await selinux.relabel(to(join(root, name)), soon()), one);
    assert.equal(await selinux.labelOf(join(root, name)), LABEL);
  }
  const { workers } = process.report.getReport() as unknown as { workers: object[] };
  assert.deepEqual(workers, []);
});

test('what is mounted in a volume keeps its labels', async (t) => {
  const root = volume(t, 1);
  for (const name of ['tmpfs', 'bound', 'other']) mkdirSync(join(root, name));
  await mounts.tmpfs({ target: join(root, 'tmpfs') });
  writeFileSync(join(root, 'tmpfs/file'), '');
  await mounts.bind({ source: join(root, 'other'), target: join(root, 'bound') });
  const before = await selinux.labelOf(join(root, 'tmpfs'));
  assert.deepEqual(await selinux.relabel(to(root), soon()), { kind: 'labelled', entries: 3, changed: 3 });
  assert.equal(await selinux.labelOf(join(root, 'tmpfs')), before);
  assert.equal(await selinux.labelOf(join(root, 'tmpfs/file')), before);
  assert.equal(await selinux.labelOf(join(root, 'other')), LABEL);
});

test('the root is labelled last, and has another label meanwhile: a walk that was cut short is continued', async (t) => {
  const root = volume(t, 20);
  await selinux.relabel(to(root, FORMER), soon());
  const cut = async () => {
    let left = 10;
    const end = () => {
      if (left-- === 0) throw new Error('ended');
    };
    assert.throws(() => relabelTree(to(root), end), /ended/);
    assert.equal(await selinux.labelOf(root), INTERIM);
  };
  await cut();
  assert.deepEqual(await selinux.relabel(to(root), soon()), {
    kind: 'labelled',
    entries: 21,
    changed: 11,
  });
  assert.equal(await selinux.labelOf(root), LABEL);
  assert.deepEqual(await selinux.relabel(to(root, FORMER), soon()), {
    kind: 'labelled',
    entries: 21,
    changed: 21,
  });
  // The label that the root had before is not taken for that of the tree.
  await cut();
  assert.deepEqual(await selinux.relabel(to(root, FORMER), soon()), {
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
  const walk = threads.run(to(many), leaving.signal, ({ entries }) => {
    seen.push(entries);
    leaving.abort();
  });
  await assert.rejects(walk, (error) => hasCode(error, 'Cancelled') && error.message.includes(many));
  assert.deepEqual(seen, [1000]);
  // It has ended: its volume is not in use.
  assert.equal(threads.busy, 0);
  assert.equal((await threads.run(to(few), soon())).kind, 'labelled');
  assert.notEqual(await selinux.labelOf(many), LABEL);
});

test('more walks than threads: the others wait for one', async (t) => {
  await using threads = new RelabelThreads();
  const roots = Array.from({ length: 9 }, () => volume(t, 3));
  const left = new AbortController();
  const walks = roots.map((root, n) => threads.run(to(root), n === 5 ? left.signal : soon()));
  left.abort();
  const outcomes = await Promise.allSettled(walks);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    roots.map((_root, n) => (n === 5 ? 'rejected' : 'fulfilled')),
  );
});

test('a walk that makes way is continued by itself', async (t) => {
  // All are long at once, so that the newest makes way.
  await using threads = new RelabelThreads(0);
  const roots = Array.from({ length: 5 }, () => volume(t, 100));
  const outcomes = await Promise.all(roots.map((root) => threads.run(to(root), soon())));
  assert.deepEqual(
    outcomes.map(({ kind }) => kind),
    roots.map(() => 'labelled'),
  );
  for (const root of roots)
    for (const path of [root, join(root, '0'), join(root, '99')])
      assert.equal(await selinux.labelOf(path), LABEL);
});

test('a file system without labels is no error', async () => {
  assert.equal(await selinux.labelOf('/proc/self/status'), undefined);
  assert.equal(await selinux.setLabel('/proc/self/status', LABEL), false);
  assert.deepEqual(await selinux.relabel(to('/proc/self/attr'), soon()), { kind: 'unsupported' });
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
