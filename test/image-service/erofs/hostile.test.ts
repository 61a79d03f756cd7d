/** Archives that no legitimate tool writes: both forms refuse them alike, and a refused one leaves nothing. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync, statSync, symlinkSync, writeFileSync } from 'node:fs';
import { dirname, join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError } from '#core/errors.ts';
import { ErofsLayer } from '#image-service/erofs/index.ts';
import { defaultImageOptions } from '#image-service/index.ts';
import type { UnpackLimits } from '#image-service/options.ts';
import { rounds } from '../../crash/seed.ts';
import { type EntrySpec, fixSums, makeTar, paxRecord } from '../../harness/tar.ts';
import { accessList, anyArchive, bytesOf } from './archives.ts';
import { assertSound, Ground, type Image, Refusal } from './forms.ts';
import { assertRefused, assertSameResult, holdsFor, inBothForms, nothing, timeless } from './layers.ts';
import { assertSameTree, seeTree } from './tree-view.ts';

/** What the maps of holes may take of a disk, whatever the archive says. */
const MOST_FOR_HOLES = 1.2 * 2 ** 30;

async function refusedByBoth(
  ground: Ground,
  members: readonly EntrySpec[],
  limits?: UnpackLimits,
): Promise<void> {
  const tar = makeTar(members);
  const what = JSON.stringify(members).slice(0, 200);
  const reference = await ground.unpack(tar, [], limits).catch((error: unknown) => error);
  assert.ok(reference instanceof Refusal, `accepted as a directory: ${what}`);
  await assertRefused(ground, tar, nothing, reference, limits);
  await ground.clear();
}

test('names and links that lead outside, or nowhere, are refused by both forms', async () => {
  await using ground = await Ground.make();
  const names = [
    '../x',
    'a/../../x',
    'a/../b',
    '/../x',
    '/..',
    '..',
    'a/..',
    `${'d'.repeat(256)}/x`,
    'x'.repeat(256),
  ];
  for (const name of [...names, `${'x/'.repeat(2100)}y`])
    await refusedByBoth(ground, [{ name: './' }, { name, type: 'file', content: 'x' }]);
  for (const link of ['../x', '/../x', '', '.', '/', 'not/there', 'd', 'd/..', '.wh.x', `${'d'.repeat(256)}`])
    await refusedByBoth(ground, [{ name: './' }, { name: 'd/' }, { name: 'x', type: 'hardlink', link }]);
  for (const link of ['', 'l'.repeat(4096)])
    await refusedByBoth(ground, [{ name: 'x', type: 'symlink', link }]);
  for (const name of ['.wh.', '.wh..', '.wh...', 'd/.wh...', 'd/.wh.'])
    await refusedByBoth(ground, [{ name }]);
  const round: EntrySpec[] = [
    { name: 'a', type: 'symlink', link: 'b' },
    { name: 'b', type: 'symlink', link: 'a' },
  ];
  await refusedByBoth(ground, [...round, { name: 'a/x' }]);
  await refusedByBoth(ground, [{ name: 'f', content: 'x' }, { name: 'f/x' }]);
  await refusedByBoth(ground, [{ name: '.', type: 'file' }]);
  await refusedByBoth(ground, [{ name: './', type: 'symlink', link: 'x' }]);
  await refusedByBoth(ground, [{ name: 'x', type: 'hardlink', link: 'x' }]);
  const circle: EntrySpec[] = [
    { name: 'x', type: 'hardlink', link: 'y' },
    { name: 'y', type: 'hardlink', link: 'x' },
  ];
  await refusedByBoth(ground, circle);
});

test('limits of entries hold for both forms', async () => {
  await using ground = await Ground.make();
  const limits = { ...defaultImageOptions.limits, layerEntries: 50 };
  await refusedByBoth(
    ground,
    Array.from({ length: 51 }, (_, n) => ({ name: `f${n}` })),
    limits,
  );
  await refusedByBoth(ground, [{ name: `${'d/'.repeat(100)}f` }], limits);
});

test('attributes of overlayfs, and those whose value no kernel takes, are refused by both forms', async () => {
  await using ground = await Ground.make();
  const yes = Buffer.from('y');
  for (const name of ['trusted.overlay.opaque', 'trusted.overlay.redirect', 'trusted.overlay.metacopy'])
    for (const entry of [{ name: 'd/' }, { name: 'f' }, { name: 'l', type: 'symlink', link: 'x' } as const])
      await refusedByBoth(ground, [{ ...entry, xattrs: { [name]: yes } }]);
  await refusedByBoth(ground, [{ name: 'f', xattrs: { [`user.${'n'.repeat(251)}`]: yes } }]);
  await refusedByBoth(ground, [{ name: 'f', xattrs: { 'user.a\0b': yes } }]);
  for (const size of [0, 1, 4, 12, 20, 24, 25])
    for (const revision of [0, 1, 2, 3, 4]) {
      for (const flags of [0, 1, 2]) {
        const value = Buffer.alloc(size);
        value[0] = flags;
        if (size > 3) value[3] = revision;
        await assertSameResult(ground, makeTar([{ name: 'f', xattrs: { 'security.capability': value } }]));
        await ground.clear();
      }
    }
  const list = accessList([7, 5, 5, 7, 5]);
  for (const damaged of [
    list.subarray(0, 11),
    list.subarray(0, 12),
    Buffer.concat([list, list.subarray(4, 12)]),
  ])
    await refusedByBoth(ground, [{ name: 'f', xattrs: { 'system.posix_acl_access': damaged } }]);
  await refusedByBoth(ground, [{ name: 'f', xattrs: { 'system.posix_acl_default': list } }]);
});

test('access control lists give the modes that the kernel gives', async () => {
  await using ground = await Ground.make();
  const list = accessList([7, 5, 1, 3, 4]);
  // Of owner, group and others alone: the kernel keeps no list of these.
  const plain = Buffer.concat([list.subarray(0, 12), list.subarray(20, 28), list.subarray(36)]);
  const acl = (value: Uint8Array) => ({ 'system.posix_acl_access': value });
  const members: EntrySpec[] = [
    { name: './', xattrs: acl(list) },
    { name: 'file', mode: 0o4600, xattrs: acl(list) },
    { name: 'plain', mode: 0o600, xattrs: acl(plain) },
    { name: 'd/', mode: 0o2770, xattrs: { ...acl(list), 'system.posix_acl_default': list } },
    { name: 'e/', xattrs: { 'system.posix_acl_default': plain } },
    { name: 'none', xattrs: acl(list.subarray(0, 4)) },
    { name: 'link', type: 'symlink', link: 'file', xattrs: acl(list) },
    { name: 'pipe', type: 'fifo', xattrs: acl(list) },
    { name: 'tty', type: 'character', major: 5, minor: 0, xattrs: { ...acl(list), 'user.a': list } },
  ];
  await inBothForms(ground, members);
});

test('attributes of 64 KiB, many, and more than an inode holds', async () => {
  await using ground = await Ground.make();
  const many = (count: number, size: number) =>
    Object.fromEntries(Array.from({ length: count }, (_, n) => [`user.n${n}`, bytesOf(size, n)]));
  const fits: EntrySpec[] = [
    { name: './', xattrs: many(3, 65_535) },
    { name: 'one', xattrs: many(1, 65_535), content: 'beside it' },
    { name: 'again', xattrs: many(1, 65_535) },
    { name: 'many', xattrs: many(300, 20), content: bytesOf(4095, 1) },
    { name: 'full/', xattrs: many(30, 4000) },
    { name: 'link', type: 'hardlink', link: 'one' },
  ];
  await inBothForms(ground, fits);
  await ground.clear();
  // The format has 16 bits for the size of a value, and as many for words of an inode's attributes; a directory may hold more.
  const beyond: EntrySpec[] = [
    { name: 'f', xattrs: many(1, 65_536) },
    { name: 'f', xattrs: many(1, 70_000) },
    { name: 'f', xattrs: many(6, 65_535) },
    { name: 'f', xattrs: many(3000, 250) },
    { name: 'd/', xattrs: many(15, 60_000) },
    { name: 'l', type: 'symlink', link: 'x', xattrs: many(15, 60_000) },
  ];
  for (const entry of beyond) {
    const image = await ground.write(makeTar([entry, { name: 'beside', xattrs: many(2, 10) }]));
    assertSound(image);
    const [dropped] = image.report.dropped;
    assert.ok(
      dropped && dropped.path === entry.name,
      JSON.stringify({ ...entry, xattrs: Object.keys(entry.xattrs ?? {}), dropped: image.report.dropped }),
    );
    const seen = seeTree(await ground.mount(image.path));
    const kept = seen.get(entry.name.replace('/', ''))?.xattrs ?? {};
    const lost = image.report.dropped.map(({ name }) => name);
    const wanted = Object.keys(entry.xattrs ?? {});
    // At most so many kinds are reported.
    assert.ok(
      lost.length === 16 || Object.keys(kept).length + lost.length === wanted.length,
      `${Object.keys(kept)}`,
    );
    assert.deepEqual(Object.keys(seen.get('beside')?.xattrs ?? {}), ['user.n0', 'user.n1']);
    await ground.clear();
  }
});

test('files of petabytes that are holes take no space, or are refused', async () => {
  await using ground = await Ground.make();
  const [data, end] = [Buffer.from('data'), Buffer.from('end')];
  for (const size of [2 ** 40, 64 * 2 ** 40, Number.MAX_SAFE_INTEGER]) {
    const middle = (size - (size % 2)) / 2;
    const pieces = [[0, data] as const, [middle, data] as const, [size - 3, end] as const];
    const members = [{ name: 'huge', sparse: { size, pieces } }];
    const image = await ground.write(makeTar(members)).catch((error: unknown) => error);
    if (image instanceof Error) {
      assert.ok(image instanceof Refusal && image.reason.code === 'ResourceExhausted', String(image));
      console.log(`# a file of ${size} bytes: ${image.reason.message}`);
    } else {
      const { blocks, size: bytes } = statSync((image as Image).path);
      console.log(`# a file of ${size} bytes: an image of ${bytes} bytes, ${blocks * 512} on the disk`);
      assert.ok(blocks * 512 < MOST_FOR_HOLES, `${blocks * 512} bytes for a file of holes`);
      // Not by fsck.erofs, which reads all of the holes.
      const mounted = seeTree(await ground.mount((image as Image).path));
      const expected = seeTree((await ground.unpack(makeTar(members))).directory);
      assertSameTree(timeless(mounted, expected), timeless(expected, expected));
    }
    await ground.clear();
  }
  // Each hole may need its place in a map.
  const pieces = Array.from({ length: 2000 }, (_, n) => [n * 100_000, Buffer.from([n])] as const);
  await inBothForms(ground, [{ name: 'holes', sparse: { size: 2e8, pieces } }]);
});

const small: EntrySpec[] = [
  { name: './', xattrs: { 'user.a': Buffer.from('b') } },
  { name: 'd/', mode: 0o700 },
  { name: 'd/file', content: bytesOf(1500, 1), mtime: 5n },
  { name: 'd/link', type: 'hardlink', link: 'd/file' },
  { name: `${'n'.repeat(120)}`, type: 'symlink', link: 't'.repeat(120) },
  { name: '.wh.gone' },
  { name: 'opq/.wh..wh..opq' },
  { name: 'holes', sparse: { size: 10_000, pieces: [[5000, Buffer.from('x')]] } },
];

test('an archive that is cut anywhere is refused by both forms, or is the same layer', async () => {
  await using ground = await Ground.make();
  const tar = makeTar(small);
  for (let cut = 0; cut <= tar.length; cut += 512) {
    await assertSameResult(ground, tar.subarray(0, cut));
    await assertSameResult(ground, tar.subarray(0, cut + 100));
    await ground.clear();
  }
});

test('an archive with changed bits is refused by both forms, or is the same layer', async () => {
  await using ground = await Ground.make();
  const tar = makeTar(small);
  const flips = fc.array(fc.tuple(fc.nat(tar.length - 1), fc.nat(7)), { minLength: 1, maxLength: 3 });
  await holdsFor(fc.tuple(flips, fc.boolean()), rounds(80), async ([bits, fixed]) => {
    const bytes = Buffer.from(tar);
    for (const [at, bit] of bits) bytes[at] = (bytes[at] ?? 0) ^ (1 << bit);
    if (fixed) fixSums(bytes);
    await assertSameResult(ground, bytes);
    await ground.clear();
  });
});

test('what is refused leaves no file and no mount', async () => {
  await using ground = await Ground.make();
  const hostile = { name: '../x' };
  await holdsFor(anyArchive, 10, async (members) => {
    await assert.rejects(ground.write(makeTar([...members, hostile])));
    assert.deepEqual(
      readdirSync(dirname(ground.path)).filter((name) => name.endsWith('.erofs')),
      [],
    );
  });
});

test('an image is never written over another file, nor through a link', async () => {
  await using ground = await Ground.make();
  const path = ground.freshImage();
  writeFileSync(path, 'of another');
  const link = ground.freshImage();
  symlinkSync('nowhere', link);
  for (const place of [path, link])
    assert.throws(
      () => new ErofsLayer(place, defaultImageOptions.limits),
      (error) => error instanceof CrispError,
    );
  assert.equal(readFileSync(path, 'utf8'), 'of another');
  assert.equal(existsSync(join(dirname(link), 'nowhere')), false);
});

test('pax records of every kind that crisp does not know change nothing', async () => {
  await using ground = await Ground.make();
  const comment = Buffer.concat([
    paxRecord('comment', Buffer.from('c')),
    paxRecord('atime', Buffer.from('1.5')),
    paxRecord('LIBARCHIVE.creationtime', Buffer.from('7')),
  ]);
  const [header = Buffer.alloc(0)] = [makeTar([{ name: 'x', content: comment, flag: 'g' }])];
  const tar = Buffer.concat([header.subarray(0, 1024), makeTar(small)]);
  const image = await ground.write(tar);
  assertSound(image);
  const { directory } = await ground.unpack(makeTar(small));
  const [mounted, reference] = [seeTree(await ground.mount(image.path)), seeTree(directory)];
  const times = (tree: typeof mounted) =>
    new Map([...tree].map(([path, entry]) => [path, { ...entry, mtime: 0n }]));
  assertSameTree(times(mounted), times(reference));
});
