import assert from 'node:assert/strict';
import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test, { type TestContext } from 'node:test';
import { CrispError } from '#core/errors.ts';
import { aboutSnapshotter, assertErofsSnapshotter, findCrio } from './programs.ts';

const printed = (version: string): string => `containerd github.com/containerd/containerd ${version}`;
const OLD = printed('1.6.20~ds1 1.6.20~ds1-1+deb12u3');
const NEW = printed('v2.1.0 abc');
const HELP = ' --sort=<path,none> order\n --tar=X from a tarball';

test('the output names the snapshotter of the peer, and whether there is another, by the version that it prints', () => {
  const about = (version: string): string => aboutSnapshotter(version, 'overlayfs');
  assert.match(about(OLD), /1\.6 has no EROFS snapshotter/);
  assert.match(about(printed('v2.0.7 abc')), /2\.0 has no EROFS snapshotter/);
  assert.match(about(NEW), /2\.1 is measured with overlayfs alone/);
  assert.match(about(printed('v3.0.0 abc')), /3\.0 is measured with overlayfs alone/);
  assert.match(about(''), /no version/);
  assert.match(aboutSnapshotter(NEW, 'erofs'), /2\.1 is measured with its EROFS snapshotter/);
});

test('the EROFS snapshotter is measured only where containerd and mkfs.erofs have what it needs', () => {
  const refused = (version: string, help: string, message: RegExp): void =>
    assert.throws(
      () => assertErofsSnapshotter(version, help),
      (error) =>
        error instanceof CrispError && error.code === 'FailedPrecondition' && message.test(error.message),
    );
  refused(OLD, HELP, /1\.6\.20.* has no EROFS snapshotter/);
  refused('', HELP, /has no EROFS snapshotter/);
  refused(NEW, '', /mkfs\.erofs is missing/);
  refused(NEW, ' --tar=X from a tarball', /mkfs\.erofs/);
  assert.doesNotThrow(() => assertErofsSnapshotter(NEW, HELP));
});

/** A directory with programs of these names. */
function programs(t: TestContext, ...names: string[]): string {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-programs-'));
  t.after(() => rmSync(directory, { recursive: true }));
  for (const name of names) {
    writeFileSync(join(directory, name), '#!/bin/sh\n');
    chmodSync(join(directory, name), 0o755);
  }
  return directory;
}

test('CRI-O is the first in PATH or the one that is given, with the pinns beside it', (t) => {
  const [first, second] = [programs(t, 'crio', 'conmon', 'crun'), programs(t, 'crio', 'pinns')];
  mkdirSync(join(first, 'pinns')); // no program
  const path = `${first}:${second}`;
  const found = { conmon: join(first, 'conmon'), runtime: join(first, 'crun'), pinns: join(second, 'pinns') };
  assert.deepEqual(findCrio('crun', undefined, path), { crio: join(first, 'crio'), ...found });
  assert.deepEqual(findCrio('crun', join(second, 'crio'), path), { crio: join(second, 'crio'), ...found });
});

test('what CRI-O lacks is refused with what to do', (t) => {
  const directory = programs(t, 'crio', 'conmon');
  const refused = (hint: RegExp, given?: string, path = directory) =>
    assert.throws(
      () => findCrio('crun', given, path),
      (error) => error instanceof CrispError && error.code === 'NotFound' && hint.test(error.hint),
    );
  refused(/--crio.*omit --peer crio/, undefined, '/nowhere');
  refused(/--crio.*omit --peer crio/, '/no/such/crio');
  refused(/put it beside .*crio: it is built with CRI-O/);
  writeFileSync(join(directory, 'pinns'), '', { mode: 0o755 });
  refused(/install crun/);
});
