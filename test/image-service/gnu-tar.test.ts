/** Trees of every kind, packed by GNU tar with every kind of option: unpacked as a layer they equal what GNU tar extracts. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { linkSync, mkdirSync, readdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { gzipSync } from 'node:zlib';
import fc from 'fast-check';
import { CrispError } from '#core/errors.ts';
import { rounds } from '../crash/seed.ts';
import { fixSums } from '../harness/tar.ts';
import { plant, treeNode } from './random-tree.ts';
import { removeWithMounts, testDirectory } from './service.ts';
import { unpack } from './unpack-here.ts';

/** Everything that tar carries, of all but the top: names, kinds, modes, owners, sizes, links, whole seconds; and which names share a file. */
function listing(path: string): string {
  const format = '%P\\0%y %m %U:%G %s %T@ %n\\0%l\\0';
  const text = execFileSync('find', ['.', '-mindepth', '1', '-printf', format], {
    cwd: path,
    encoding: 'latin1',
    maxBuffer: 1 << 26,
  });
  const fields = text.split('\0').slice(0, -1);
  const lines = Array.from({ length: fields.length / 3 }, (_, n) =>
    fields.slice(3 * n, 3 * n + 3).join('\0'),
  );
  return lines
    .map((line) => line.replace(/\0d (\S+) (\S+) \d+ (\S+) \d+/, '\0d $1 $2 - $3').replace(/\.0+ /, ' '))
    .sort()
    .join('\n');
}

/** The content of all files. */
const sums = (path: string): string =>
  execFileSync('sh', ['-c', 'find . -type f -print0 | sort -z | xargs -0 -r sha256sum -z --'], {
    cwd: path,
    encoding: 'latin1',
    maxBuffer: 1 << 26,
  });

const FORMATS = ['gnu', 'oldgnu', 'posix', 'ustar', 'v7'] as const;
const MORE: readonly (readonly string[])[] = [
  [],
  ['-S'],
  ['-S', '--sparse-version=0.0'],
  ['-S', '--sparse-version=0.1'],
  ['-S', '--sparse-version=1.0'],
  ['--hard-dereference'],
  ['--blocking-factor=1'],
  ['--blocking-factor=333'],
  ['--sort=name', '--owner=big:3000000', '--group=other:2999999', '--numeric-owner'],
  ['--xattrs', '--acls'],
  ['--label=a volume'],
  ['--transform=s,^\\./,/,', '-P'],
  ['--transform=s,^\\./,.//./,'],
];

test('what GNU tar packs is unpacked as GNU tar does it', async () => {
  using directory = testDirectory();
  const [from, theirs, base] = ['from', 'theirs', 'layers'].map((name) => join(directory.path, name)) as [
    string,
    string,
    string,
  ];
  await fc.assert(
    fc.asyncProperty(
      fc.array(treeNode, { minLength: 1, maxLength: 8 }),
      fc.constantFrom(...FORMATS),
      fc.constantFrom(...MORE),
      fc.boolean(),
      async (nodes, format, more, zipped) => {
        for (const path of [from, theirs, base]) {
          removeWithMounts(path);
          mkdirSync(path);
        }
        plant(from, nodes);
        // The old formats leave out what they cannot hold, with an error.
        const tar = packed(from, [`--format=${format}`, ...more]);
        fc.pre(tar.length > 0); // some options do not go together
        const archive = join(directory.path, 'archive.tar');
        writeFileSync(archive, tar);
        execFileSync('tar', ['-C', theirs, '--numeric-owner', '-xpf', archive], { stdio: 'ignore' });
        const { directory: ours } = await unpack(base, tar, [], { compression: zipped ? 'gzip' : 'none' });
        assert.equal(listing(ours), listing(theirs));
        assert.equal(sums(ours), sums(theirs));
      },
    ),
    { numRuns: rounds(40) },
  );
});

function packed(from: string, options: readonly string[]): Buffer {
  const script = 'tar -C "$0" "$@" -cf - . 2>/dev/null || [ $? -eq 2 ]';
  return execFileSync('sh', ['-c', script, from, ...options], { maxBuffer: 1 << 28 });
}

test('a changed archive is unpacked or refused, and nothing is written outside of the layer', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  const base = join(directory.path, 'layers');
  mkdirSync(join(from, 'd'), { recursive: true });
  mkdirSync(base);
  writeFileSync(join(from, 'd/file'), 'content'.repeat(200));
  symlinkSync('../../../../../..', join(from, 'd/up'));
  linkSync(join(from, 'd/file'), join(from, 'linked'));
  mkdirSync(join(from, 'n'.repeat(120)));
  const archives = FORMATS.map((format) => packed(from, [`--format=${format}`]));
  const before = readdirSync(directory.path).sort();
  const top = readdirSync('/').sort();
  const text = fc.constantFrom(
    '../x',
    '/x',
    'd/up/x',
    'd/up/../x',
    '..',
    '',
    'd',
    './',
    'd/file/x',
    '.wh.d',
    'd/.wh..wh..opq',
  );
  const change = fc.oneof(
    fc.record({ at: fc.nat(9000), bytes: fc.uint8Array({ minLength: 1, maxLength: 4 }) }),
    // A name, a link's target, a type or a size of a header.
    fc.record({
      at: fc.tuple(fc.nat(16), fc.constantFrom(0, 157, 345)).map(([block, field]) => block * 512 + field),
      bytes: text.map((name) => Buffer.from(`${name}\0`)),
    }),
    fc.record({
      at: fc.nat(16).map((block) => block * 512 + 156),
      bytes: fc
        .constantFrom('0', '1', '2', '5', '6', 'L', 'K', 'x', 'g', 'S', 'V')
        .map((flag) => Buffer.from(flag)),
    }),
    fc.record({
      at: fc.nat(16).map((block) => block * 512 + 124),
      bytes: fc
        .constantFrom(
          '00000000010\0',
          '77777777777\0',
          '\x80\0\0\0\x7f\xff\xff\xff\xff\xff\xff\xff',
          '-0000000001\0',
        )
        .map((size) => Buffer.from(size, 'latin1')),
    }),
  );
  await fc.assert(
    fc.asyncProperty(
      fc.constantFrom(...archives),
      fc.array(change, { minLength: 1, maxLength: 5 }),
      fc.boolean(),
      async (archive, changes, fixed) => {
        const bytes = Buffer.from(archive);
        for (const { at, bytes: written } of changes)
          bytes.set(written.subarray(0, Math.max(0, bytes.length - at)), Math.min(at, bytes.length));
        if (fixed) fixSums(bytes);
        await unpack(base, bytes).catch((error) =>
          assert.ok(error instanceof CrispError && error.hint !== '', String(error)),
        );
        assert.deepEqual(readdirSync(directory.path).sort(), before);
      },
    ),
    { numRuns: rounds(300) },
  );
  assert.deepEqual(readdirSync('/').sort(), top);
  const layer = await unpack(base, gzipSync(archives[0] ?? Buffer.alloc(0)).subarray(0, 0)).catch(
    () => undefined,
  );
  assert.ok(layer === undefined || readdirSync(layer.directory).length === 0);
  assert.equal(readFileSync(join(from, 'd/file'), 'utf8'), 'content'.repeat(200));
});
