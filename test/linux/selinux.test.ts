/** The walk that labels a volume. Here the kernel may have no SELinux: the label is then an attribute like others. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, renameSync, rmSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test, { after } from 'node:test';
import type { Worker } from 'node:worker_threads';
import { CrispError, hasCode } from '#core/errors.ts';
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

test('a walk that changed a part before its error leaves the interim label, and says so', async (t) => {
  const root = volume(t, 2);
  for (const name of ['one', 'two']) mkdirSync(join(root, name));
  for (const name of ['one', 'two']) for (const n of ['0', '1', '2']) writeFileSync(join(root, name, n), '');
  await selinux.relabel(to(root, FORMER), soon());
  const tree = ['one', 'two'].map((name) => join(root, name));
  let left = 0;
  for (const [first, second] of [tree, tree.toReversed()] as [string, string][]) {
    // Whichever of the two the walk comes to first.
    const files = [join(first, '0'), join(second, '1')];
    execFileSync('chattr', ['+i', ...files]);
    try {
      await assert.rejects(selinux.relabel(to(root), soon()), (error) => {
        assert.ok(error instanceof CrispError);
        // Nothing was changed: the file that refuses was the first.
        if (!error.message.includes(INTERIM)) return true;
        left++;
        assert.match(error.hint, new RegExp(`chcon -R ${LABEL} ${root}$`));
        return true;
      });
      const labels = await Promise.all(
        [root, ...tree, ...tree.flatMap((at) => ['0', '1', '2'].map((n) => join(at, n)))].map((at) =>
          selinux.labelOf(at),
        ),
      );
      // No directory says that it is whole and is not.
      assert.ok(!labels.slice(0, 3).includes(LABEL));
      for (const [n, at] of tree.entries()) {
        const own = labels.slice(3 + 3 * n, 6 + 3 * n);
        assert.equal(labels[1 + n], own.includes(LABEL) ? INTERIM : FORMER, at);
      }
      assert.equal(labels[0], labels.includes(LABEL) ? INTERIM : FORMER);
    } finally {
      execFileSync('chattr', ['-i', ...files]);
    }
    await selinux.relabel(to(root, FORMER), soon());
  }
  assert.ok(left > 0);
});

test('a tree that is put in the place of the one that was checked is not walked, also while it waits for its turn', async (t) => {
  await using threads = new RelabelThreads();
  const root = volume(t, 0);
  const [parent, other] = [join(root, 'parent'), join(root, 'other')];
  for (const path of [parent, other]) mkdirSync(join(path, 'volume'), { recursive: true });
  for (const path of [parent, other]) writeFileSync(join(path, 'volume/file'), '');
  const path = join(parent, 'volume');
  const { dev, ino } = statSync(path, { bigint: true });
  const tree = { ...to(path), id: `${dev}:${ino}` };
  const before = await selinux.labelOf(join(other, 'volume/file'));
  renameSync(parent, join(root, 'away'));
  symlinkSync(other, parent);
  await assert.rejects(threads.run(tree, soon()), /open .*parent\/volume: ELOOP/);
  rmSync(parent);
  renameSync(other, parent);
  await assert.rejects(threads.run(tree, soon()), (error) => hasCode(error, 'Aborted'));
  assert.equal(await selinux.labelOf(join(path, 'file')), before);
  renameSync(parent, other);
  renameSync(join(root, 'away'), parent);
  assert.equal((await threads.run(tree, soon())).kind, 'labelled');
});

test('what takes no label below the root is passed over, and counted', async (t) => {
  const root = scratch(t, mounts);
  const [lower, upper, work, merged] = ['lower', 'upper', 'work', 'merged'].map((name) => join(root, name));
  assert.ok(lower && upper && work && merged);
  for (const path of [lower, upper, work, merged]) mkdirSync(path);
  // It has no extended attributes; the overlay's root has, which is that of its upper directory.
  execFileSync('mount', ['-t', 'ramfs', 'ramfs', lower]);
  mkdirSync(join(lower, 'below'));
  for (const path of ['file', 'below/file']) writeFileSync(join(lower, path), '');
  await mounts.overlay({ target: merged, lower: [lower], upper, work });
  writeFileSync(join(merged, 'own'), '');
  assert.deepEqual(await selinux.relabel(to(merged), soon()), {
    kind: 'labelled',
    entries: 5,
    changed: 2,
    unsupported: 3,
  });
  assert.equal(await selinux.labelOf(join(merged, 'own')), LABEL);
  assert.deepEqual(await selinux.relabel(to(merged), soon()), { kind: 'labelled before' });
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
  assert.equal(seen[0], 1000);
  // It has ended: its volume is not in use.
  assert.equal(threads.busy, 0);
  assert.equal((await threads.run(to(few), soon())).kind, 'labelled');
  assert.notEqual(await selinux.labelOf(many), LABEL);
});

test('a thread that is lost while it waits for a walk gets none', async (t) => {
  await using threads = new RelabelThreads();
  const root = volume(t, 1);
  const started = once(process, 'worker');
  await threads.run(to(root), soon());
  const [thread] = (await started) as [Worker];
  await thread.terminate();
  assert.equal((await threads.run(to(root, FORMER), soon())).kind, 'labelled');
  assert.equal(await selinux.labelOf(root), FORMER);
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
  assert.deepEqual(await selinux.relabel(to(`/proc/${process.pid}/attr`), soon()), { kind: 'unsupported' });
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
