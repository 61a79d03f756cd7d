/** Layers on top of each other, and beside GNU tar. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import { isComplete } from '#image-service/unpack/complete.ts';
import { unpackLayer } from '#image-service/unpack/unpack-layer.ts';
import { digestOf } from '../harness/images.ts';
import { kernel, testDirectory } from './service.ts';

import { never, unpack } from './unpack-here.ts';

/** A listing of a tree by GNU find: everything that matters but device numbers of directories. */
const listing = (path: string): string =>
  execFileSync('find', ['.', '-printf', '%P %y %m %U:%G %s %l\\n'], { cwd: path, encoding: 'latin1' })
    .split('\n')
    .map((line) => line.replace(/ d (\S+) (\S+) \d+ /, ' d $1 $2 - '))
    .sort()
    .join('\n');

test('layers merge as the OCI rules say', async () => {
  using directory = testDirectory();
  const base = directory.path;
  const lower = await unpack(base, [
    { name: './', mode: 0o755 },
    { name: 'tmp/', mode: 0o1777 },
    { name: 'usr/', uid: 2 },
    { name: 'usr/lib/', mode: 0o751, gid: 9 },
    { name: 'usr/lib/so', content: 'so', mode: 0o4755, uid: 4 },
    { name: 'lib', type: 'symlink', link: 'usr/lib' },
    { name: 'gone', content: 'x' },
    { name: 'dir/' },
    { name: 'dir/old', content: 'x' },
    { name: 'opq/' },
    { name: 'opq/old', content: 'x' },
    { name: 'was/' },
    { name: 'was/old', content: 'x' },
  ]);
  const upper = await unpack(
    base,
    [
      { name: 'tmp/mine', content: 'parent omitted' },
      { name: 'lib/new', content: 'through the link' },
      { name: 'usr/bin/tool', type: 'hardlink', link: 'lib/so' },
      { name: '.wh.gone' },
      { name: 'dir/.wh.old' },
      { name: 'opq/' },
      { name: 'opq/new', content: 'n' },
      { name: 'opq/.wh..wh..opq' },
      { name: '.wh.was' },
      { name: 'was/' },
      { name: 'was/new', content: 'n' },
      { name: 'stays', content: 's' },
      { name: '.wh.stays' },
    ],
    [lower.directory],
  );
  const [target, merged, work] = ['mnt', 'upper', 'work'].map((name) => join(base, name)) as [
    string,
    string,
    string,
  ];
  for (const path of [target, merged, work]) mkdirSync(path);
  await kernel.mounts.overlay({ target, lower: [upper.directory, lower.directory], upper: merged, work });
  try {
    assert.equal(
      listing(target),
      [
        ' d 755 0:0 - ',
        'dir d 755 0:0 - ',
        'lib l 777 0:0 7 usr/lib',
        'opq d 755 0:0 - ',
        'opq/new f 644 0:0 1 ',
        'stays f 644 0:0 1 ',
        'tmp d 1777 0:0 - ',
        'tmp/mine f 644 0:0 14 ',
        'usr d 755 2:0 - ',
        'usr/bin d 755 0:0 - ',
        'usr/bin/tool f 4755 4:0 2 ',
        'usr/lib d 751 0:9 - ',
        'usr/lib/new f 644 0:0 16 ',
        'usr/lib/so f 4755 4:0 2 ',
        'was d 755 0:0 - ',
        'was/new f 644 0:0 1 ',
        '',
      ]
        .sort()
        .join('\n'),
    );
    assert.equal(statSync(join(target, 'usr/bin/tool')).ino, statSync(join(target, 'usr/lib/so')).ino);
  } finally {
    await kernel.mounts.unmount(target);
  }
});

test('a tree of the machine unpacks as GNU tar does it', async () => {
  using directory = testDirectory();
  const archive = join(directory.path, 'etc.tar.gz');
  execFileSync('tar', ['-C', '/etc', '--format=pax', '--xattrs', '-czf', archive, '.']);
  const [ours, theirs] = [join(directory.path, 'ours'), join(directory.path, 'theirs')];
  for (const path of [ours, theirs]) mkdirSync(path);
  execFileSync('tar', ['-C', theirs, '--xattrs', '--numeric-owner', '-xpzf', archive]);
  const diffId = digestOf(execFileSync('gzip', ['-dc', archive], { maxBuffer: 1 << 30 }));
  const { limits } = defaultImageOptions;
  const compressedSize = statSync(archive).size;
  const report = await unpackLayer(
    { archive, compressedSize, directory: ours, diffId, limits, redirects: [] },
    never,
  );
  assert.ok(isComplete(report));
  assert.equal(listing(ours), listing(theirs));
  execFileSync('diff', ['-r', '--no-dereference', ours, theirs]);
  const lie = {
    archive,
    compressedSize,
    directory: ours,
    diffId: digestOf(Buffer.from('other')),
    limits,
    redirects: [],
  };
  await assert.rejects(unpackLayer(lie, never), (error) => hasCode(error, 'DataLoss'));
});
