/** EROFS images made from archives: erofs-utils agree with them, and the kernel shows what LayerWriter unpacks. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readlinkSync,
  readSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { TarEntry } from '#core/tar/entry.ts';
import { TarReader } from '#core/tar/reader.ts';
import { ErofsLayer } from '#image-service/erofs/index.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import { LayerWriter } from '#image-service/unpack/layer-writer.ts';
import { cName, lgetxattr, llistxattr, must } from '#linux/fs/at-syscalls.ts';
import { mountErofs } from '#linux/mount/erofs.ts';
import { type EntrySpec, makeTar } from '../harness/images.ts';
import { testDirectory } from './service.ts';

const { limits } = defaultImageOptions;
const never = new AbortController().signal;
const BLOCK = 4096;

/** Writes an archive as an image, checks its digest and, unless it would take minutes, all of it with fsck.erofs, and mounts it. */
async function imageOf(
  base: string,
  name: string,
  write: Buffer | ((layer: ErofsLayer) => void),
  { fsck = true } = {},
) {
  const image = join(base, `${name}.erofs`);
  using layer = new ErofsLayer(image, limits);
  if (Buffer.isBuffer(write)) {
    const reader = new TarReader(layer);
    reader.write(write);
    reader.end();
  } else write(layer);
  const report = layer.report();
  const result = await layer.finish(never);
  const bytes = readFileSync(image);
  const digest = createHash('sha256').update(bytes.subarray(BLOCK)).update(bytes.subarray(0, BLOCK));
  assert.equal(result.digest, `sha256:${digest.digest('hex')}`);
  assert.equal(result.bytes, bytes.length);
  if (fsck) agreed(image);
  const target = join(base, name);
  mkdirSync(target);
  await mountErofs({ image, target, by: 'file' });
  return { image, target, report, result };
}

function agreed(image: string): void {
  const { status, stdout, stderr } = spawnSync('fsck.erofs', [image], { encoding: 'utf8' });
  assert.equal(status, 0, `${stdout}${stderr}`);
}

/** All that stat and readlink tell of a tree; of directories not the size, which each file system counts in its own way. */
function listing(root: string): string[] {
  const format = '%P\\0%y %m %U:%G %T@ %n\\0%s %l\\0';
  const text = execFileSync('find', [root, '-mindepth', '1', '-printf', format], {
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  });
  const fields = text.split('\0').slice(0, -1);
  return Array.from({ length: fields.length / 3 }, (_, n) => {
    const [name, what, size] = fields.slice(3 * n, 3 * n + 3);
    return `${name} ${what} ${what?.startsWith('d') ? '' : size}`;
  }).sort();
}

const sums = (root: string): string =>
  execFileSync('sh', ['-c', 'find . -type f -print0 | sort -z | xargs -0 -r sha256sum -z --'], {
    cwd: root,
    encoding: 'latin1',
    maxBuffer: 1 << 28,
  });

/** The extended attributes of a file, symlinks not followed. */
function attributes(path: string): Record<string, Buffer> {
  const location = Buffer.from(`${path}\0`, 'latin1');
  const list = Buffer.alloc(65_536);
  const names = list.toString('latin1', 0, Math.max(0, llistxattr(location, list, list.length))).split('\0');
  return Object.fromEntries(names.slice(0, -1).map((name) => [name, attribute(path, name)]));
}

function attribute(path: string, name: string): Buffer {
  const value = Buffer.alloc(65_536);
  const length = must(lgetxattr(Buffer.from(`${path}\0`, 'latin1'), cName(name), value, value.length), name);
  return Buffer.from(value.subarray(0, length));
}

/** Names and values of all extended attributes of a tree. */
const xattrs = (root: string): readonly unknown[] =>
  execFileSync('find', [root, '-printf', '%P\\0'], { encoding: 'latin1', maxBuffer: 1 << 28 })
    .split('\0')
    .sort()
    .map((name) => [name, attributes(`${root}/${name}`)]);

/** The archive in both forms. */
async function both(base: string, name: string, tar: Buffer): Promise<string> {
  const { target } = await imageOf(base, name, tar);
  const directory = join(base, `${name}-unpacked`);
  mkdirSync(directory, { mode: 0o755 });
  using writer = new LayerWriter(directory, limits);
  const reader = new TarReader(writer);
  reader.write(tar);
  reader.end();
  writer.finish();
  assert.deepEqual(listing(target), listing(directory));
  assert.equal(sums(target), sums(directory));
  assert.deepEqual(xattrs(target), xattrs(directory));
  return target;
}

const value = (text: string): Buffer => Buffer.from(text);

test('a tree of the machine is the same in both forms', async () => {
  using directory = testDirectory();
  for (const options of [['--format=gnu'], ['--format=posix', '--xattrs', '--sort=name']]) {
    const tar = execFileSync('tar', ['-C', '/usr/share', ...options, '-cf', '-', 'perl5', 'zoneinfo'], {
      maxBuffer: 1 << 29,
    });
    await both(directory.path, `tree${options.length}`, tar);
  }
});

test('files of all sizes around a block, with and without attributes, have their content', async () => {
  using directory = testDirectory();
  const sizes = [0, 1, 31, 32, 33, 3964, 4030, 4031, 4032, 4033, 4095, 4096, 4097, 8191, 8192, 8193, 12_345];
  const large = [65_535, 65_536, 65_537, (1 << 20) - 1, (1 << 20) + 1, 5 << 20];
  const entries: EntrySpec[] = [{ name: './', mtime: 1n }];
  for (const size of [...sizes, ...large])
    for (const [n, length] of [0, 1, 30, 100, 3900, 5000].entries()) {
      const content = Buffer.alloc(size, `${size}-${n} `);
      const attribute = length === 0 ? {} : { xattrs: { 'user.a': Buffer.alloc(length, String(size)) } };
      if (length < 3000 || size < 10_000) entries.push({ name: `f${size}-${n}`, content, ...attribute });
    }
  const { target } = await imageOf(directory.path, 'sizes', makeTar(entries));
  for (const { name, content, xattrs: wanted } of entries.slice(1)) {
    assert.ok(readFileSync(join(target, name)).equals(Buffer.from(content as Buffer)), name);
    if (wanted)
      assert.ok(attribute(join(target, name), 'user.a').equals(Buffer.from(wanted['user.a'] as Buffer)));
  }
});

test('entries of every kind are the same in both forms', async () => {
  using directory = testDirectory();
  const long = 'n'.repeat(255);
  const acl = Buffer.from(
    '0200000001000600ffffffff02000500e803000004000400ffffffff10000500ffffffff20000400ffffffff',
    'hex',
  );
  const capability = Buffer.from('0100000200040000000000000000000000000000', 'hex');
  const note = { 'user.note': value('n'), 'user.empty': value('') };
  const target = await both(
    directory.path,
    'kinds',
    makeTar([
      { name: './', mode: 0o750, uid: 7, mtime: 1n, xattrs: { 'user.root': value('r'), ...note } },
      {
        name: 'setuid',
        content: 'x',
        mode: 0o6755,
        uid: 0o7777776,
        gid: 0o7777775,
        xattrs: { 'security.capability': capability },
      },
      { name: 'twice', content: 'x', xattrs: note },
      { name: 'again', content: 'y'.repeat(5000), xattrs: note },
      { name: 'once more', content: '', xattrs: note },
      { name: 'acl', content: 'x', mode: 0o644, xattrs: { 'system.posix_acl_access': acl } },
      {
        name: 'acls/',
        mode: 0o755,
        xattrs: { 'system.posix_acl_access': acl, 'system.posix_acl_default': acl },
      },
      { name: 'acls-group/', mode: 0o2711, xattrs: { 'system.posix_acl_access': acl } },
      {
        name: 'acls-twice/',
        mode: 0o755,
        xattrs: { 'system.posix_acl_access': acl, 'user.first': value('1') },
      },
      { name: 'acls-twice/', mode: 0o700, xattrs: { 'user.second': value('2') } },
      { name: 'link', type: 'symlink', link: 'nowhere', uid: 5, mtime: 1n },
      { name: 'long link', type: 'symlink', link: 'l/'.repeat(2047), mtime: 1n },
      { name: 'longest link', type: 'symlink', link: 'l'.repeat(4095) },
      ...[3900, 4031, 4032, 4033].map(
        (n) => ({ name: `link${n}`, type: 'symlink', link: 'l'.repeat(n) }) as const,
      ),
      { name: 'other', type: 'hardlink', link: 'setuid' },
      { name: 'other link', type: 'hardlink', link: 'link' },
      { name: 'null', type: 'character', major: 1, minor: 3, mode: 0o666 },
      { name: 'null too', type: 'hardlink', link: 'null' },
      { name: 'disk', type: 'block', major: 4095, minor: 1_048_575, mode: 0o660 },
      { name: 'zero', type: 'character', mode: 0o600, mtime: 1n },
      { name: 'pipe', type: 'fifo', mode: 0o600, xattrs: { 'user.never': value('v') } },
    ]),
  );
  assert.equal(readlinkSync(join(target, 'longest link')).length, 4095);
  assert.equal(lstatSync(join(target, 'other')).ino, lstatSync(join(target, 'setuid')).ino);
  const names = makeTar([
    { name: './', mtime: 1n },
    { name: `${long}/`, mtime: 5n },
    ...Array.from({ length: 255 }, (_, n) => n + 1)
      .filter((byte) => byte !== 0x2f)
      .flatMap((byte) => [
        { name: `${long}/${String.fromCharCode(byte).repeat(byte === 0x2e ? 3 : 1)}`, content: String(byte) },
        { name: `${long}/x${String.fromCharCode(byte)}/`, mtime: 2n },
      ]),
  ]);
  await both(directory.path, 'names', names);
});

test('deletions and opaque directories are in the form of overlayfs', async () => {
  using directory = testDirectory();
  const { target, report } = await imageOf(
    directory.path,
    'whiteouts',
    makeTar([
      { name: './' },
      { name: 'd/' },
      { name: 'd/.wh..wh..opq' },
      { name: '.wh.gone' },
      { name: 'was', content: 'a file' },
      { name: 'was/' },
      { name: '.wh..wh..opq' },
    ]),
  );
  const gone = lstatSync(join(target, 'gone'));
  assert.ok(gone.isCharacterDevice() && gone.rdev === 0);
  for (const name of ['d', 'was'])
    assert.equal(attribute(join(target, name), 'trusted.overlay.opaque').toString(), 'y');
  assert.equal(report.rootOpaque, true);
});

test('the same archive gives the same bytes, and another one another UUID', async () => {
  using directory = testDirectory();
  const tar = makeTar([
    { name: './' },
    { name: 'implied/in/file', content: 'x'.repeat(10_000) },
    { name: '.wh.gone' },
    { name: 'a', content: 'a', xattrs: { 'user.a': value('a') } },
    { name: 'b', type: 'hardlink', link: 'a' },
  ]);
  const first = await imageOf(directory.path, 'first', tar);
  const cut = await imageOf(directory.path, 'second', (layer) => {
    const reader = new TarReader(layer);
    for (let at = 0; at < tar.length; at += 77) reader.write(tar.subarray(at, at + 77));
    reader.end();
  });
  assert.ok(readFileSync(first.image).equals(readFileSync(cut.image)));
  assert.equal(first.result.digest, cut.result.digest);
  const other = await imageOf(directory.path, 'third', makeTar([{ name: './' }]));
  const uuid = (image: string) => readFileSync(image).subarray(1072, 1088).toString('hex');
  assert.notEqual(uuid(first.image), uuid(other.image));
  const { stdout } = spawnSync('dump.erofs', ['-s', first.image], { encoding: 'utf8' });
  assert.match(stdout, /Filesystem features: +sb_csum mtime *$/m);
  assert.match(stdout, new RegExp(`Filesystem inode count: +${first.result.inodes}$`, 'm'));
  assert.match(stdout, new RegExp(`Filesystem blocks: +${first.result.bytes / BLOCK}$`, 'm'));
});

test('attributes of 64 KiB are kept, longer ones and too many are dropped and reported', async () => {
  using directory = testDirectory();
  const { target, report } = await imageOf(
    directory.path,
    'attributes',
    makeTar([
      { name: './', xattrs: { 'user.large': Buffer.alloc(30_000, 'r') } },
      { name: 'most', content: 'c'.repeat(100), xattrs: { 'user.most': Buffer.alloc(65_535, 'm') } },
      { name: 'beyond', content: 'b', xattrs: { 'user.beyond': Buffer.alloc(65_536, 'b') } },
      { name: 'dir/', xattrs: { 'user.large': Buffer.alloc(60_000, 'd') } },
      {
        name: 'many',
        content: 'many',
        xattrs: Object.fromEntries(
          Array.from({ length: 6 }, (_, n) => [`user.n${n}`, Buffer.alloc(60_000, String(n))]),
        ),
      },
      {
        name: 'names/',
        xattrs: Object.fromEntries(Array.from({ length: 300 }, (_, n) => [`user.n${n}`, value(String(n))])),
      },
      { name: 'link', type: 'hardlink', link: 'most' },
    ]),
  );
  assert.ok(attribute(join(target, 'most'), 'user.most').equals(Buffer.alloc(65_535, 'm')));
  assert.ok(attribute(join(target, 'link'), 'user.most').equals(Buffer.alloc(65_535, 'm')));
  assert.equal(readFileSync(join(target, 'link'), 'utf8'), 'c'.repeat(100));
  assert.ok(attribute(join(target, 'dir'), 'user.large').equals(Buffer.alloc(60_000, 'd')));
  assert.ok(attribute(target, 'user.large').equals(Buffer.alloc(30_000, 'r')));
  for (const n of [0, 1, 2, 3])
    assert.ok(attribute(join(target, 'many'), `user.n${n}`).equals(Buffer.alloc(60_000, String(n))));
  assert.equal(attribute(join(target, 'names'), 'user.n200').toString(), '200');
  const dropped = report.dropped.map(({ name, path }) => `${path} ${name}`);
  assert.deepEqual(dropped.slice(0, 3), ['beyond user.beyond', 'many user.n4', 'many user.n5']);
  assert.ok(dropped.includes('names/ user.n254'));
});

/** An entry without an archive. */
const entry = (name: string, more: Partial<TarEntry> = {}): TarEntry => ({
  type: 'file',
  name,
  link: '',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0n,
  major: 0,
  minor: 0,
  xattrs: new Map(),
  ...more,
});

test('70 000 names of one file, 100 000 files of one directory, ids of 32 bits, times of 64', async () => {
  using directory = testDirectory();
  const { target, result } = await imageOf(directory.path, 'many', (layer) => {
    const add = (name: string, more: Partial<TarEntry> = {}) => {
      layer.entry(entry(name, more));
      layer.entryEnd();
    };
    layer.entry(entry('file', { size: 5000, uid: 0xffff_fffe, gid: 0xffff_fffd }));
    layer.data(Buffer.alloc(5000, 'f'));
    layer.entryEnd();
    for (let n = 1; n < 70_000; n++) add(`links/${n}`, { type: 'hardlink', link: 'file' });
    for (let n = 0; n < 100_000; n++) add(`many/a-file-with-a-name-${n}`, { mode: 0o600 });
    for (const [name, seconds] of [
      ['future', 2n ** 40n],
      ['past', -(2n ** 33n)],
    ] as const)
      add(name, { mtime: seconds * 1_000_000_000n + 7n });
  });
  const file = statSync(join(target, 'file'));
  assert.deepEqual([file.nlink, file.uid, file.gid], [70_000, 0xffff_fffe, 0xffff_fffd]);
  assert.equal(statSync(join(target, 'links/69999')).ino, file.ino);
  assert.equal(readFileSync(join(target, 'links/35000'), 'utf8'), 'f'.repeat(5000));
  assert.equal(readdirSync(join(target, 'links')).length, 69_999);
  assert.equal(new Set(readdirSync(join(target, 'many'))).size, 100_000);
  for (const n of [0, 9, 99_999, 54_321])
    assert.ok(statSync(join(target, `many/a-file-with-a-name-${n}`)).isFile());
  assert.throws(() => statSync(join(target, 'many/a-file-with-a-name-100000')), { code: 'ENOENT' });
  assert.equal(result.inodes, 100_006);
  const time = (name: string) =>
    execFileSync('stat', ['-c', '%.9Y', join(target, name)], { encoding: 'utf8' }).trim();
  assert.deepEqual([time('future'), time('past')], ['1099511627776.000000007', '-8589934591.999999993']);
});

test('a file of terabytes with holes costs little, and its data is where it was', async () => {
  const write = (
    layer: ErofsLayer,
    name: string,
    size: number,
    data: readonly (readonly [number, string])[],
  ) => {
    layer.entry(entry(name, { size }));
    let at = 0;
    for (const [offset, text] of data) {
      if (offset > at) layer.hole(offset - at);
      layer.data(Buffer.from(text));
      at = offset + text.length;
    }
    if (size > at) layer.hole(size - at);
    layer.entryEnd();
  };
  const dense = Array.from({ length: 5000 }, (_, n) => [n * 20_000 + 5, `piece ${n}`] as const);
  // fsck.erofs reads a block for each entry of a map, of which a file of terabytes has millions; the kernel only where it reads.
  for (const [unit, fsck] of [
    [2 ** 30, true],
    [2 ** 40, false],
  ] as const) {
    using directory = testDirectory();
    const pieces = [
      [0, 'first'],
      [5 * (unit / 1024) + 77, 'five'],
      [unit - 3, 'end of one'],
      [3 * unit + 4095, 'across'],
      [7 * unit, 'last'],
    ] as const;
    const content = (layer: ErofsLayer) => {
      write(layer, 'sparse', 8 * unit + 1, pieces);
      write(layer, 'empty', 16 * unit, []);
      write(layer, 'small', 65_536, [[100, 'in a small one']]);
      write(layer, 'dense', 100_000_000, dense);
      layer.entry(entry('linked', { type: 'hardlink', link: 'sparse' }));
      layer.entryEnd();
    };
    const { target, result } = await imageOf(directory.path, 'holes', content, { fsck });
    assert.ok(result.bytes < 200 << 20, `${result.bytes} bytes`);
    const read = (name: string, offset: number, length: number) => {
      const fd = openSync(join(target, name), 'r');
      const bytes = Buffer.alloc(length);
      readSync(fd, bytes, 0, length, offset);
      closeSync(fd);
      return bytes.toString('latin1');
    };
    for (const name of ['sparse', 'linked']) {
      assert.equal(statSync(join(target, name)).size, 8 * unit + 1);
      for (const [offset, text] of pieces) {
        const before = Math.min(offset, 5000);
        const wanted = `${'\0'.repeat(before)}${text}${'\0'.repeat(5000)}`;
        assert.equal(read(name, offset - before, wanted.length), wanted, String(offset));
      }
      assert.equal(read(name, 8 * unit, 1), '\0');
    }
    assert.equal(read('empty', 9 * unit, 3), '\0\0\0');
    const wanted = Buffer.alloc(100_000_000);
    for (const [offset, text] of dense) wanted.write(text, offset);
    assert.ok(readFileSync(join(target, 'dense')).equals(wanted));
    assert.equal(read('small', 98, 16), '\0\0in a small one');
    const { stdout } = spawnSync('dump.erofs', ['-s', join(directory.path, 'holes.erofs')], {
      encoding: 'utf8',
    });
    assert.match(stdout, /chunked_file/);
  }
});

test('holes that would cost more than the archive is worth are refused', () => {
  using directory = testDirectory();
  using layer = new ErofsLayer(join(directory.path, 'image'), limits);
  assert.throws(
    () => {
      for (let n = 0; n < 1000; n++) {
        layer.entry(entry(`f${n}`, { size: 16 * 2 ** 40 }));
        layer.hole(15 * 2 ** 40 + 12_345);
        layer.data(Buffer.from('x'));
        layer.hole(2 ** 40 - 12_346);
        layer.entryEnd();
      }
    },
    (error) =>
      error instanceof CrispError && error.code === 'ResourceExhausted' && /holes/.test(error.message),
  );
});

test('a hard link to its own directory, devices that do not exist and odd attributes are refused', () => {
  using directory = testDirectory();
  const cases: readonly [EntrySpec[], RegExp][] = [
    [
      [
        { name: 'a/b', content: 'b' },
        { name: 'a', type: 'hardlink', link: 'a/b' },
      ],
      /which it would replace/,
    ],
    [[{ name: 'd', type: 'block', major: 4096, minor: 1 }], /EINVAL/],
    [[{ name: 'd', type: 'character', major: 1, minor: 1_048_576 }], /EINVAL/],
    [[{ name: 'f', xattrs: { 'security.capability': value('nonsense') } }], /EINVAL/],
    [[{ name: 'f', xattrs: { 'system.posix_acl_access': value('\x02\0\0\0nonsense') } }], /EINVAL/],
    [[{ name: 's', type: 'symlink', link: 'x'.repeat(256) }, { name: 's/f' }], /ENAMETOOLONG/],
  ];
  for (const [n, [entries, wanted]] of cases.entries())
    for (const form of ['image', 'directory'] as const) {
      const path = join(directory.path, `${form}${n}`);
      if (form === 'directory') mkdirSync(path);
      using layer = form === 'image' ? new ErofsLayer(path, limits) : new LayerWriter(path, limits);
      const reader = new TarReader(layer);
      assert.throws(() => reader.write(makeTar(entries)), wanted, `${form} ${n}`);
    }
});

test('a file that exists is not written over, and a failed image can be deleted', () => {
  using directory = testDirectory();
  const path = join(directory.path, 'image');
  writeFileSync(path, 'theirs');
  assert.throws(() => new ErofsLayer(path, limits), /EEXIST/);
  assert.equal(readFileSync(path, 'utf8'), 'theirs');
});

test('a full disk is a clear error', async () => {
  using directory = testDirectory();
  const disk = join(directory.path, 'disk');
  mkdirSync(disk);
  execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'none', disk]);
  using layer = new ErofsLayer(join(disk, 'image'), limits);
  layer.entry(entry('file', { size: 8 << 20 }));
  layer.data(Buffer.alloc(4 << 20, 'x'));
  const isFull = (error: unknown) =>
    error instanceof CrispError && error.code === 'ResourceExhausted' && /ENOSPC/.test(error.message);
  await assert.rejects(layer.ready(), isFull);
  assert.throws(() => layer.data(Buffer.alloc(4 << 20, 'x')), isFull);
  await assert.rejects(layer.finish(never), isFull);
});

test('a lower file with holes on a mounted image is copied without them', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(from);
  const fd = openSync(join(from, 'sparse'), 'w');
  writeSync(fd, 'data', 64 << 20);
  ftruncateSync(fd, 256 << 20);
  closeSync(fd);
  const lower = await imageOf(
    directory.path,
    'lower',
    execFileSync('tar', ['-C', from, '-S', '--format=posix', '-cf', '-', '.']),
  );
  const image = join(directory.path, 'upper.erofs');
  using layer = new ErofsLayer(image, limits);
  const reader = new TarReader(layer);
  reader.write(makeTar([{ name: './' }, { name: 'link', type: 'hardlink', link: 'sparse' }]));
  reader.end();
  const { bytes, inodes } = await layer.complete([lower.target], new AbortController().signal);
  assert.ok(bytes < 8 << 20, `${bytes}`);
  assert.equal(inodes, 1);
  await layer.finish(never);
  agreed(image);
});

test('a completion ends when it is cancelled', async () => {
  using directory = testDirectory();
  const lower = join(directory.path, 'lower');
  mkdirSync(lower);
  const fd = openSync(join(lower, 'large'), 'w');
  for (let n = 0; n < 400; n++) writeSync(fd, Buffer.alloc(1 << 20, 'x'));
  closeSync(fd);
  using layer = new ErofsLayer(join(directory.path, 'image'), limits);
  layer.entry(entry('link', { type: 'hardlink', link: 'large' }));
  layer.entryEnd();
  const cancel = new AbortController();
  const completion = layer.complete([lower], cancel.signal);
  cancel.abort(new Error('cancelled'));
  await assert.rejects(completion, /cancelled/);
});
