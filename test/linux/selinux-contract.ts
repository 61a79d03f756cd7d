/** What SELinux does on every kernel, the real one and the fake one. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  readdirSync,
  readlinkSync,
  statSync,
  symlinkSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError, type ErrorCode, hasCode } from '#core/errors.ts';
import { FakeSelinux } from '#linux/fake/selinux.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { Selinux } from '#linux/ports/selinux.ts';
import { scratch } from './scratch.ts';

const soon = () => AbortSignal.timeout(20_000);
const code = (wanted: ErrorCode) => (error: unknown) => hasCode(error, wanted);
const INTERIM = 'system_u:object_r:container_ro_file_t:s0';
/** What this process has open at or below a path. */
const openBelow = (path: string): string[] =>
  readdirSync('/proc/self/fd')
    .map((fd) => `/proc/self/fd/${fd}`)
    .filter((link) => existsSync(link))
    .map((link) => readlinkSync(link))
    .filter((target) => target.startsWith(path));

/** Whether a file refuses changes, of its label too: chattr(1), `i`. */
function immutable(selinux: Selinux, path: string, isOn: boolean): void {
  if (!(selinux instanceof FakeSelinux)) execFileSync('chattr', [isOn ? '+i' : '-i', path]);
  else if (isOn) selinux.immutable.add(path);
  else selinux.immutable.delete(path);
}

export function selinuxContract(name: string, kernel: Kernel): void {
  const { mounts } = kernel;

  test(`${name}: SELinux labels of files`, async (t) => {
    const { selinux } = kernel;
    const root = scratch(t, mounts);
    const label = 'system_u:object_r:container_file_t:s0:c1,c2';
    mkdirSync(join(root, 'volume/below'), { recursive: true });
    writeFileSync(join(root, 'volume/below/file'), '');
    writeFileSync(join(root, 'outside'), '');
    symlinkSync('../outside', join(root, 'volume/link'));
    const before = await selinux.labelOf(join(root, 'outside'));
    const tree = (name: string, wanted = label) => ({
      path: join(root, name),
      label: wanted,
      interim: INTERIM,
    });
    const walk = () => selinux.relabel(tree('volume'), soon());
    assert.deepEqual(await walk(), { kind: 'labelled', entries: 4, changed: 4 });
    assert.deepEqual(await walk(), { kind: 'labelled before' });
    for (const path of ['volume', 'volume/below', 'volume/below/file', 'volume/link'])
      assert.equal(await selinux.labelOf(join(root, path)), label, path);
    assert.equal(await selinux.labelOf(join(root, 'outside')), before);
    assert.equal(await selinux.setLabel(join(root, 'volume'), before ?? 'system_u:object_r:tmp_t:s0'), true);
    assert.deepEqual(await walk(), { kind: 'labelled', entries: 4, changed: 1 });
    const reports: number[] = [];
    const one = tree('outside');
    const outcome = await selinux.relabel(one, soon(), ({ entries }) => reports.push(entries));
    assert.deepEqual(outcome, { kind: 'labelled', entries: 1, changed: 1 });
    await assert.rejects(selinux.labelOf(join(root, 'none')), code('NotFound'));
    await assert.rejects(selinux.setLabel(join(root, 'none'), label), code('NotFound'));
    await assert.rejects(selinux.relabel(tree('none'), soon()), code('NotFound'));
    await assert.rejects(selinux.relabel(one, AbortSignal.abort()), code('Cancelled'));
    symlinkSync('volume', join(root, 'way'));
    await assert.rejects(selinux.relabel(tree('way/below'), soon()), /way\/below: ELOOP/);
    const { dev, ino } = statSync(join(root, 'volume'), { bigint: true });
    const id = `${dev}:${ino}`;
    assert.deepEqual(await selinux.relabel({ ...tree('volume'), id }, soon()), { kind: 'labelled before' });
    mkdirSync(join(root, 'empty'));
    for (const name of ['empty', 'outside'])
      await assert.rejects(selinux.relabel({ ...tree(name), id }, soon()), code('Aborted'));
    assert.deepEqual(await selinux.relabel(tree('empty'), soon()), {
      kind: 'labelled',
      entries: 1,
      changed: 1,
    });
    assert.deepEqual(await selinux.relabel(tree('empty'), soon()), { kind: 'labelled before' });
  });

  test(`${name}: a SELinux walk that is aborted is known by the label of its root`, async (t) => {
    const { selinux } = kernel;
    const path = scratch(t, mounts);
    for (let n = 0; n < 3000; n++) writeFileSync(join(path, `${n}`), '');
    const former = { path, label: 'system_u:object_r:container_file_t:s0:c1,c2', interim: INTERIM };
    const other = { ...former, label: 'system_u:object_r:container_file_t:s0:c3,c4' };
    assert.deepEqual(await selinux.relabel(former, soon()), {
      kind: 'labelled',
      entries: 3001,
      changed: 3001,
    });
    const leaving = new AbortController();
    const cut = selinux.relabel(other, leaving.signal, ({ entries }) => entries >= 1000 && leaving.abort());
    await assert.rejects(cut, code('Cancelled'));
    // It has ended: nothing of the tree is open.
    assert.deepEqual(openBelow(path), []);
    assert.equal(await selinux.labelOf(path), INTERIM);
    const outcome = await selinux.relabel(former, soon());
    assert.ok(outcome.kind === 'labelled' && outcome.entries === 3001, outcome.kind);
    assert.ok(outcome.changed > 1000 && outcome.changed < 3001, `${outcome.changed}`);
  });

  test(`${name}: a directory of a SELinux walk that is aborted is not taken for whole, as one that is mounted by itself`, async (t) => {
    const { selinux } = kernel;
    const path = scratch(t, mounts);
    const below = join(path, 'below/sub');
    mkdirSync(below, { recursive: true });
    for (let n = 0; n < 3000; n++) writeFileSync(join(below, `${n}`), '');
    const former = { path, label: 'system_u:object_r:container_file_t:s0:c1,c2', interim: INTERIM };
    const other = { ...former, label: 'system_u:object_r:container_file_t:s0:c3,c4' };
    const cut = async () => {
      const leaving = new AbortController();
      await assert.rejects(
        selinux.relabel(other, leaving.signal, ({ entries }) => entries >= 1000 && leaving.abort()),
        code('Cancelled'),
      );
    };
    await selinux.relabel(former, soon());
    await cut();
    for (const directory of [path, join(path, 'below'), below])
      assert.equal(await selinux.labelOf(directory), INTERIM, directory);
    assert.equal((await selinux.relabel({ ...other, path: below }, soon())).kind, 'labelled');
    for (const n of ['0', '1500', '2999']) assert.equal(await selinux.labelOf(join(below, n)), other.label);
    // A directory that has the label is entered all the same, and keeps it.
    await selinux.setLabel(join(below, '7'), former.label);
    await selinux.relabel(other, soon());
    for (const at of [path, join(path, 'below'), below, join(below, '7')])
      assert.equal(await selinux.labelOf(at), other.label, at);
  });

  test(`${name}: a SELinux walk that cannot succeed takes no label from what it did not change`, async (t) => {
    const { selinux } = kernel;
    const path = scratch(t, mounts);
    const [below, file] = [join(path, 'below'), join(path, 'below/file')];
    mkdirSync(below);
    writeFileSync(file, '');
    const former = { path, label: 'system_u:object_r:container_file_t:s0:c1,c2', interim: INTERIM };
    const other = { ...former, label: 'system_u:object_r:container_file_t:s0:c3,c4' };
    const labels = () => Promise.all([path, below, file].map((at) => selinux.labelOf(at)));
    const refused = async (wanted: RegExp) => {
      const hints: string[] = [];
      await assert.rejects(selinux.relabel(other, soon()), (error) => {
        assert.ok(error instanceof CrispError && error.errno === 'EPERM', String(error));
        assert.match(error.message, wanted);
        hints.push(error.hint);
        return true;
      });
      return hints[0] ?? '';
    };
    const unlabelled = await labels();
    immutable(selinux, file, true);
    try {
      await refused(/file to \S+c3,c4: EPERM$/);
      assert.deepEqual(await labels(), unlabelled);
      immutable(selinux, file, false);
      await selinux.relabel(former, soon());
      immutable(selinux, file, true);
      await refused(/file to \S+c3,c4: EPERM$/);
      assert.deepEqual(await labels(), [former.label, former.label, former.label]);
      // A walk before this one changed a part: only by the label of the root does the next pod know.
      await selinux.setLabel(path, INTERIM);
      const hint = await refused(
        /EPERM: \S+ has the label \S+container_ro_file_t:s0 until all below it has \S+c3,c4$/,
      );
      assert.match(hint, new RegExp(`chcon -R ${other.label} ${path}$`));
      assert.deepEqual(await labels(), [INTERIM, former.label, former.label]);
    } finally {
      immutable(selinux, file, false);
    }
    await selinux.relabel(other, soon());
    assert.deepEqual(await labels(), [other.label, other.label, other.label]);
  });
}
