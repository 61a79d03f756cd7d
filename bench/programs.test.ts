import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import { aboutSnapshotter, assertErofsSnapshotter } from './programs.ts';

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
