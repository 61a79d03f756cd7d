import assert from 'node:assert/strict';
import test from 'node:test';
import { erofsSnapshotter } from './programs.ts';

test('the output says whether the peer has an EROFS snapshotter, by the version that it prints', () => {
  const has = (version: string): string =>
    erofsSnapshotter(`containerd github.com/containerd/containerd ${version}`);
  assert.match(has('1.6.20~ds1 1.6.20~ds1-1+deb12u3'), /1\.6 has no EROFS snapshotter/);
  assert.match(has('v2.0.7 abc'), /2\.0 has no EROFS snapshotter/);
  assert.match(has('v2.1.0 abc'), /2\.1 is measured with overlayfs alone/);
  assert.match(has('v3.0.0 abc'), /3\.0 is measured with overlayfs alone/);
  assert.match(erofsSnapshotter(''), /not measured/);
});
