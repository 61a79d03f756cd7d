/** Layers on a real disk: their form for overlayfs, and that no archive escapes. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  existsSync,
  lstatSync,
  mkdirSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import { isOpaque } from '#image-service/unpack/whiteout.ts';
import { cName } from '#linux/fs/at-syscalls.ts';
import type { EntrySpec } from '../harness/images.ts';
import { testDirectory } from './service.ts';

import { onlyDirectories, unpack } from './unpack-here.ts';

async function refuses(entries: readonly EntrySpec[], code: ErrorCode, limits = {}): Promise<void> {
  using directory = testDirectory();
  const outside = join(directory.path, 'outside');
  mkdirSync(outside);
  writeFileSync(join(outside, 'victim'), 'untouched');
  await assert.rejects(
    unpack(directory.path, entries, [], { limits }),
    (error) => hasCode(error, code),
    JSON.stringify(entries).slice(0, 200),
  );
  assert.deepEqual(readdirSync(outside), ['victim']);
  assert.equal(readFileSync(join(outside, 'victim'), 'utf8'), 'untouched');
}

const directoryCount = (path: string): number =>
  readdirSync(path, { withFileTypes: true }).filter((entry) => entry.isDirectory()).length;

test('names that lead outside are refused', async () => {
  for (const name of [
    '../x',
    'a/../../x',
    'a/../b',
    '/../x',
    '/..',
    '..',
    'a/..',
    `${'d'.repeat(256)}/x`,
    `${'x/'.repeat(2100)}y`,
  ]) {
    await refuses([{ name: './' }, { name, type: 'file', content: 'x' }], 'InvalidArgument');
  }
});

test('hard links that lead outside are refused', async () => {
  for (const link of ['../outside/victim', '/../outside/victim', '/etc/passwd', '', '.', 'not/there', 'd']) {
    await refuses([{ name: './' }, { name: 'd/' }, { name: 'x', type: 'hardlink', link }], 'InvalidArgument');
  }
});

test('a path through a link stays inside the layer', async () => {
  using directory = testDirectory();
  const { directory: layer } = await unpack(directory.path, [
    { name: './' },
    { name: 'up', type: 'symlink', link: '../../../../outside' },
    { name: 'abs', type: 'symlink', link: '/etc' },
    { name: 'round', type: 'symlink', link: 'abs' },
    { name: 'up/one', content: '1' },
    { name: 'abs/two', content: '2' },
    { name: 'round/three', content: '3' },
    { name: 'direct', type: 'symlink', link: '/etc/two' },
    { name: 'direct', content: 'replaced the link, not its target' },
  ]);
  assert.equal(readFileSync(join(layer, 'outside/one'), 'utf8'), '1');
  assert.equal(readFileSync(join(layer, 'etc/two'), 'utf8'), '2');
  assert.equal(readFileSync(join(layer, 'etc/three'), 'utf8'), '3');
  assert.ok(lstatSync(join(layer, 'direct')).isFile());
  assert.equal(existsSync(join(directory.path, 'outside')), false);
  await refuses(
    [{ name: 'a', type: 'symlink', link: 'b' }, { name: 'b', type: 'symlink', link: 'a' }, { name: 'a/x' }],
    'InvalidArgument',
  );
  await refuses([{ name: 'file', content: 'x' }, { name: 'file/x' }], 'InvalidArgument');
});

test('attributes of overlayfs are refused in archives', async () => {
  for (const name of ['trusted.overlay.opaque', 'trusted.overlay.redirect']) {
    for (const entry of [{ name: 'd/' }, { name: 'f' }, { name: 'l', type: 'symlink', link: 'x' } as const])
      await refuses([{ ...entry, xattrs: { [name]: Buffer.from('y') } }], 'InvalidArgument');
  }
  using directory = testDirectory();
  const marked = unpack(directory.path, [
    { name: 'd/', xattrs: { 'trusted.overlay.opaque': Buffer.from('y') } },
  ]);
  await assert.rejects(
    marked,
    (error) =>
      hasCode(error, 'InvalidArgument') && /overlayfs/.test(error.message) && /without it/.test(error.hint),
  );
  for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh...']) await refuses([{ name }], 'InvalidArgument');
});

test('bombs are stopped at each limit', onlyDirectories, async () => {
  const many = Array.from({ length: 20 }, (_, n) => ({ name: `f${n}` }));
  await refuses(many, 'ResourceExhausted', { layerEntries: 10 });
  await refuses([{ name: 'big', content: Buffer.alloc(1 << 20) }], 'ResourceExhausted', {
    layerBytes: 1 << 19,
  });
  using directory = testDirectory();
  const bomb = [{ name: 'zeros', content: Buffer.alloc(8 << 20) }];
  for (const compression of ['gzip', 'zstd'] as const) {
    const limits = { ratio: 10, ratioFrom: 1 << 20 };
    await assert.rejects(unpack(directory.path, bomb, [], { compression, limits }), (error) =>
      hasCode(error, 'ResourceExhausted'),
    );
  }
});

test('attributes arrive whole', async () => {
  using directory = testDirectory();
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
  const mtime = 1_234_567_890_123_456_789n;
  const { directory: layer } = await unpack(directory.path, [
    { name: './', mode: 0o750, uid: 7, mtime },
    {
      name: 'setuid',
      content: 'x',
      mode: 0o6755,
      uid: 1000,
      gid: 1001,
      mtime,
      xattrs: { 'security.capability': capability, 'user.note': Buffer.from('n') },
    },
    { name: 'link', type: 'symlink', link: 'nowhere', uid: 5, mtime },
    { name: 'other', type: 'hardlink', link: 'setuid' },
    { name: 'null', type: 'character', major: 1, minor: 3, mode: 0o666 },
    { name: 'disk', type: 'block', major: 259, minor: 70_000, mode: 0o660 },
    { name: 'pipe', type: 'fifo', mode: 0o600 },
    { name: 'group/', mode: 0o2775, gid: 50 },
    { name: 'group/file' },
    { name: 'group/dir/' },
    { name: 'group/dir/pipe', type: 'fifo' },
    { name: 'sticky/', mode: 0o1777, uid: 3, mtime },
    { name: 'sticky/later', content: 'written after its directory' },
    { name: 'name\xff\xfe', content: 'not UTF-8' },
  ]);
  const file = lstatSync(join(layer, 'setuid'), { bigint: true });
  assert.equal(file.mode & 0o7777n, 0o6755n);
  assert.deepEqual([file.uid, file.gid, file.mtimeNs, file.nlink], [1000n, 1001n, mtime, 2n]);
  assert.equal(lstatSync(join(layer, 'other'), { bigint: true }).ino, file.ino);
  const found = execFileSync('python3', [
    '-c',
    'import os,sys; print(os.getxattr(sys.argv[1],"security.capability").hex(), os.getxattr(sys.argv[1],"user.note").decode())',
    join(layer, 'setuid'),
  ]);
  assert.equal(found.toString().trim(), `${capability.toString('hex')} n`);
  assert.deepEqual([lstatSync(join(layer, 'link')).uid, readlinkSync(join(layer, 'link'))], [5, 'nowhere']);
  assert.equal(lstatSync(join(layer, 'link'), { bigint: true }).mtimeNs, mtime);
  assert.ok(lstatSync(join(layer, 'null')).isCharacterDevice());
  assert.equal(
    execFileSync('stat', ['-c', '%t:%T %a', join(layer, 'disk')])
      .toString()
      .trim(),
    '103:11170 660',
  );
  assert.ok(lstatSync(join(layer, 'pipe')).isFIFO());
  const groups = ['group', 'group/file', 'group/dir', 'group/dir/pipe'].map((name) =>
    lstatSync(join(layer, name)),
  );
  assert.deepEqual(
    groups.map(({ gid }) => gid),
    [50, 0, 0, 0],
    'setgid directories pass their group on',
  );
  assert.deepEqual(
    groups.map(({ mode }) => mode & 0o7000),
    [0o2000, 0, 0, 0],
  );
  const sticky = lstatSync(join(layer, 'sticky'), { bigint: true });
  assert.deepEqual([sticky.mode & 0o7777n, sticky.uid, sticky.mtimeNs], [0o1777n, 3n, mtime]);
  const root = statSync(layer, { bigint: true });
  assert.deepEqual([root.mode & 0o7777n, root.uid, root.mtimeNs], [0o750n, 7n, mtime]);
  assert.ok(
    readdirSync(layer, { encoding: 'buffer' }).some((name) =>
      name.equals(Buffer.from('name\xff\xfe', 'latin1')),
    ),
  );
});

test('a later entry replaces an earlier one of any kind', async () => {
  using directory = testDirectory();
  const { directory: layer } = await unpack(directory.path, [
    { name: './' },
    { name: 'a/' },
    { name: 'a/b/' },
    { name: 'a/b/c', content: 'gone' },
    { name: 'a', content: 'a file now' },
    { name: 'x', content: 'old' },
    { name: 'y', type: 'hardlink', link: 'x' },
    { name: 'x', content: 'new' },
    { name: 'l', type: 'symlink', link: 'z' },
    { name: 'z/' },
    { name: 'l/' },
    { name: 'l/in', content: 'in l' },
    { name: 'd/', mode: 0o700 },
    { name: 'd/kept', content: 'k' },
    { name: 'd/', mode: 0o711 },
    { name: 'was', content: 'a file' },
    { name: 'was/' },
  ]);
  // The file has replaced whatever a lower layer has here; the directory must not show it again.
  assert.ok(isOpaque(cName(join(layer, 'was'))));
  assert.ok(!isOpaque(cName(join(layer, 'd'))));
  assert.equal(readFileSync(join(layer, 'a'), 'utf8'), 'a file now');
  assert.equal(readFileSync(join(layer, 'x'), 'utf8'), 'new');
  assert.equal(readFileSync(join(layer, 'y'), 'utf8'), 'old');
  assert.ok(lstatSync(join(layer, 'l')).isDirectory());
  assert.deepEqual(readdirSync(join(layer, 'z')), []);
  assert.deepEqual(
    [statSync(join(layer, 'd')).mode & 0o777, readFileSync(join(layer, 'd/kept'), 'utf8')],
    [0o711, 'k'],
  );
});

test('names of the greatest length, and whiteouts of them', async () => {
  using directory = testDirectory();
  const long = 'n'.repeat(255);
  const { directory: layer } = await unpack(directory.path, [
    { name: './' },
    { name: `.wh.${long}` },
    { name: `d/.wh.${long}` },
    { name: `e/${long}`, content: 'kept' },
    { name: `e/.wh.${long}` },
  ]);
  for (const path of [long, `d/${long}`]) assert.ok(lstatSync(join(layer, path)).isCharacterDevice());
  assert.equal(readFileSync(join(layer, 'e', long), 'utf8'), 'kept');
  for (const name of [`n${long}`, `.wh.n${long}`, `.wh.${long}/file`])
    await refuses([{ name }], 'InvalidArgument');
});

test('the notes of a directory are dropped when a file replaces it', async () => {
  using directory = testDirectory();
  const { directory: layer, report } = await unpack(directory.path, [
    { name: './' },
    { name: 'a/', mode: 0o2755 },
    { name: 'a/b/', mode: 0o2755 },
    { name: 'implied/in/file' },
    { name: 'a', content: 'a file' },
    { name: 'implied', content: 'a file' },
    { name: 'again/in/file' },
    { name: 'again', content: 'a file' },
    { name: 'again/', mode: 0o711 },
    { name: 'again/in/file' },
  ]);
  assert.deepEqual(report.implied, ['again/in']);
  assert.deepEqual(
    [statSync(join(layer, 'a')).mode & 0o7777, statSync(join(layer, 'again')).mode & 0o7777],
    [0o644, 0o711],
  );
});

test('a directory of the greatest depth is created and removed, with few descriptors', async () => {
  using directory = testDirectory();
  const deep = 'd/'.repeat(1900);
  const { directory: layer } = await unpack(directory.path, [
    { name: './' },
    { name: `${deep}file`, content: 'x' },
    { name: 'other/', mode: 0o700 },
    { name: 'd', content: 'a file' },
  ]);
  assert.ok(statSync(join(layer, 'd')).isFile());
  assert.ok(directoryCount(layer) === 1);
});

test('directories without an entry count as entries', async () => {
  await refuses([{ name: `${'d/'.repeat(100)}file` }], 'ResourceExhausted', { layerEntries: 50 });
});

test('a hard link that is to be completed blocks a directory', async () => {
  await refuses(
    [{ name: './' }, { name: 'x', type: 'hardlink', link: 'below' }, { name: 'x/in' }],
    'InvalidArgument',
  );
});

test('attributes that are not for this node are dropped and reported', async () => {
  using base = testDirectory();
  const value = Buffer.from('v');
  const { directory, report } = await unpack(base.path, [
    { name: './', xattrs: { 'trusted.root': value } },
    { name: 'd/', xattrs: { 'trusted.foo': value, 'user.kept': value } },
    {
      name: 'f',
      content: 'x',
      xattrs: {
        'trusted.foo': value,
        'security.selinux': value,
        'security.SMACK64': value,
        'security.evm': value,
        'security.other': value,
        'system.nfs4_acl': value,
        'com.apple.quarantine': value,
        'user.kept': value,
        '': value,
      },
    },
    { name: 'l', type: 'symlink', link: 'f', xattrs: { 'user.never': value } },
  ]);
  const names = (name: string) =>
    execFileSync('python3', ['-c', 'import os,sys; print(*os.listxattr(sys.argv[1]))', join(directory, name)])
      .toString()
      .trim();
  assert.deepEqual(['.', 'd', 'f'].map(names), ['', 'user.kept', 'user.kept']);
  assert.deepEqual(
    report.dropped.map(({ name, path, files }) => [name, path, files]),
    [
      ['trusted.root', './', 1],
      ['trusted.foo', 'd/', 2],
      ['security.other', 'f', 1],
      ['system.nfs4_acl', 'f', 1],
      ['com.apple.quarantine', 'f', 1],
      ['', 'f', 1],
      ['user.never', 'l', 1],
    ],
  );
});

test(
  'a file system without such attributes: they are dropped and reported, file capabilities too',
  onlyDirectories,
  async () => {
    using base = testDirectory();
    // ramfs supports no extended attributes at all.
    const place = join(base.path, 'plain');
    mkdirSync(place);
    execFileSync('mount', ['-t', 'ramfs', 'none', place]);
    try {
      const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
      const { report } = await unpack(place, [
        { name: 'ping', content: 'x', xattrs: { 'security.capability': capability, 'user.a': capability } },
      ]);
      assert.deepEqual(
        report.dropped.map(({ name }) => name),
        ['security.capability', 'user.a'],
      );
    } finally {
      execFileSync('umount', [place]);
    }
  },
);

test('an attribute that does not fit is refused by its name, and of very many kinds only some are reported', async () => {
  await refuses(
    [{ name: 'f', xattrs: { [`user.${'n'.repeat(300)}`]: Buffer.from('v') } }],
    'InvalidArgument',
  );
  using base = testDirectory();
  const many = Object.fromEntries(Array.from({ length: 100 }, (_, n) => [`trusted.n${n}`, Buffer.from('v')]));
  const { report } = await unpack(base.path, [{ name: 'f', xattrs: many }]);
  assert.equal(report.dropped.length, 16);
});
