/** Files with holes in layers, in each form that GNU tar writes, and what else old and new tars write. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  linkSync,
  lstatSync,
  mkdirSync,
  openSync,
  readFileSync,
  statSync,
  writeFileSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { CrispError, hasCode } from '#core/errors.ts';
import { rounds } from '../crash/seed.ts';
import { headerBlock, makeTar, paxRecord } from '../harness/images.ts';
import { fixSums } from '../harness/tar.ts';
import { testDirectory } from './service.ts';
import { bytesOnDisk, onlyDirectories, unpack } from './unpack-here.ts';

const FORMS: readonly (readonly string[])[] = [
  ['--format=gnu'],
  ['--format=posix', '--sparse-version=0.0'],
  ['--format=posix', '--sparse-version=0.1'],
  ['--format=posix', '--sparse-version=1.0'],
];

/** Writes pieces of data at offsets into a file of this size. */
function holes(path: string, size: number, pieces: readonly (readonly [number, string])[]): void {
  const fd = openSync(path, 'w');
  for (const [offset, text] of pieces) writeSync(fd, text, offset);
  ftruncateSync(fd, size);
  closeSync(fd);
}

const tarOf = (directory: string, ...options: readonly string[]): Buffer =>
  execFileSync('tar', ['-C', directory, '-S', ...options, '-cf', '-', '.'], { maxBuffer: 1 << 28 });

test('what tar -S writes is unpacked with its size, its content and its holes', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(from);
  const MiB = 1 << 20;
  holes(join(from, 'start'), MiB, [[0, 'at the start']]);
  holes(join(from, 'end'), MiB + 17, [[MiB, 'to the end\n']]);
  holes(join(from, 'hole'), 8 * MiB, []);
  holes(join(from, 'n'.repeat(140)), 3 * MiB, [[MiB, 'a long name']]);
  // More pieces than fit a header and its first extension, of odd lengths.
  const many = Array.from({ length: 60 }, (_, n) => [n * 65_536, `piece ${'x'.repeat(n * 37)}`] as const);
  holes(join(from, 'many'), 60 * 65_536 + 1, many);
  holes(join(from, 'huge'), 20 * 1024 * MiB, [[12 * 1024 * MiB, 'beyond 8 GiB']]);
  linkSync(join(from, 'many'), join(from, 'other'));
  writeFileSync(join(from, 'plain'), 'plain');
  const base = join(directory.path, 'layers');
  mkdirSync(base);
  for (const form of FORMS) {
    const { directory: layer, report } = await unpack(base, tarOf(from, ...form));
    for (const name of ['start', 'end', 'hole', 'n'.repeat(140), 'many', 'plain']) {
      assert.ok(readFileSync(join(layer, name)).equals(readFileSync(join(from, name))), `${form} ${name}`);
    }
    const huge = statSync(join(layer, 'huge'));
    assert.equal(huge.size, 20 * 1024 * MiB);
    assert.ok(bytesOnDisk(layer, 'huge') < 4 * MiB, 'holes take no space');
    execFileSync('cmp', ['-n', '64', '-i', String(12 * 1024 * MiB), join(layer, 'huge'), join(from, 'huge')]);
    assert.ok(bytesOnDisk(layer, 'hole') < 4 * MiB);
    assert.equal(lstatSync(join(layer, 'other')).ino, lstatSync(join(layer, 'many')).ino);
    assert.ok(report.bytes < 4 * MiB, 'only data counts');
  }
});

test('a sparse file is read in pieces of any size', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(from);
  holes(join(from, 'file'), 300_000, [
    [10_000, 'a'.repeat(5000)],
    [100_000, 'b'],
  ]);
  for (const form of FORMS) {
    const archive = tarOf(from, ...form);
    const { TarReader } = await import('#core/tar/reader.ts');
    for (const cut of [1, 511, 512, 513, 10_240]) {
      const pieces: Buffer[] = [];
      const reader = new TarReader({
        entry() {},
        data: (piece) => pieces.push(Buffer.from(piece)),
        hole: (length) => pieces.push(Buffer.alloc(length)),
        entryEnd() {},
      });
      for (let at = 0; at < archive.length; at += cut) reader.write(archive.subarray(at, at + cut));
      reader.end();
      assert.ok(Buffer.concat(pieces).equals(readFileSync(join(from, 'file'))), `${form} ${cut}`);
    }
  }
});

/** A member with pax records and this content. */
function member(records: readonly (readonly [string, string])[], content: string, flag = '0'): Buffer {
  const pax = Buffer.concat(records.map(([key, value]) => paxRecord(key, Buffer.from(value))));
  const padded = (bytes: Buffer) => Buffer.concat([bytes, Buffer.alloc((512 - (bytes.length % 512)) % 512)]);
  const bytes = Buffer.from(content);
  return Buffer.concat([
    headerBlock({ name: 'PaxHeader' }, 'x', pax.length),
    padded(pax),
    headerBlock({ name: 'holes' }, flag, bytes.length),
    padded(bytes),
    Buffer.alloc(1024),
  ]);
}
const lines = (text: string, data = ''): string => text.padEnd(512, '\0') + data;
const form1 = (size: string): [string, string][] => [
  ['GNU.sparse.major', '1'],
  ['GNU.sparse.minor', '0'],
  ['GNU.sparse.name', 'holes'],
  ['GNU.sparse.realsize', size],
];

test('a map that does not fit its file is refused with the name of the member', async () => {
  using directory = testDirectory();
  const map = (text: string, size = '100'): [string, string][] => [
    ['GNU.sparse.size', size],
    ['GNU.sparse.map', text],
  ];
  const cases: Buffer[] = [
    member(map('0,3,2,3'), 'abcdef'),
    member(map('90,20'), 'x'.repeat(20)),
    member(map('0,3'), 'abcdef'),
    member(map('0,9'), 'abcdef'),
    member(map('0'), ''),
    member(map('9007199254740991,9007199254740991'), ''),
    member(map('-1,2'), 'ab'),
    member(map('0x1,2'), 'ab'),
    member(form1('100'), lines('1\n0\n3\n', 'abcd')),
    member(form1('2'), lines('1\n0\n3\n', 'abc')),
    member(form1('100'), lines('nonsense\n')),
    member(form1('100'), lines('2000000\n')),
    member(form1('100'), '1'.repeat(600)),
    member(form1('100'), '3\n0\n1\n'),
    member([...form1('100').slice(2), ['GNU.sparse.major', '2']], lines('0\n')),
    member(map('0,'.repeat(520_000)), 'abc'),
    member(map(Array.from({ length: 200_000 }, () => '0,0').join(',')), 'abc'),
  ];
  for (const [n, bytes] of cases.entries()) {
    await assert.rejects(
      unpack(directory.path, bytes),
      (error) =>
        error instanceof CrispError &&
        ['DataLoss', 'Unimplemented'].includes(error.code) &&
        error.hint !== '' &&
        (/"holes"/.test(error.message) || assert.fail(error.message)),
      `case ${n}`,
    );
  }
  const { directory: good } = await unpack(directory.path, member(form1('100'), lines('1\n50\n3\n', 'abc')));
  assert.equal(readFileSync(join(good, 'holes'), 'latin1'), `${'\0'.repeat(50)}abc${'\0'.repeat(47)}`);
});

test('a size that the file system does not take is refused', onlyDirectories, async () => {
  using directory = testDirectory();
  await assert.rejects(unpack(directory.path, member(form1('9007199254740991'), lines('0\n'))), (error) =>
    hasCode(error, 'KernelRefused'),
  );
});

test('a changed sparse archive is unpacked or refused, and nothing leaves the layer', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(from);
  holes(join(from, 'file'), 100_000, [
    [8192, 'data'],
    [65_536, 'more'],
  ]);
  const archives = FORMS.map((form) => tarOf(from, ...form));
  const base = join(directory.path, 'layers');
  mkdirSync(base);
  const flips = fc.array(fc.tuple(fc.nat(6000), fc.nat(255)), { maxLength: 6 });
  await fc.assert(
    fc.asyncProperty(fc.constantFrom(...archives), flips, async (archive, changes) => {
      const bytes = Buffer.from(archive);
      for (const [at, value] of changes) if (at < bytes.length) bytes[at] = value;
      fixSums(bytes);
      await unpack(base, bytes).catch((error) => assert.ok(error instanceof CrispError, String(error)));
    }),
    { numRuns: rounds(150) },
  );
});

test('old archives and odd headers: V7, times before 1970, global records, other charsets', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(join(from, 'd'), { recursive: true });
  writeFileSync(join(from, 'd/old'), 'old');
  execFileSync('touch', ['-d', '1901-02-03 04:05:06 UTC', join(from, 'd/old')]);
  const wanted = lstatSync(join(from, 'd/old'), { bigint: true }).mtimeNs;
  for (const form of ['gnu', 'posix', 'oldgnu']) {
    const archive = execFileSync('tar', ['-C', from, `--format=${form}`, '-cf', '-', '.']);
    const { directory: layer } = await unpack(directory.path, archive);
    assert.equal(lstatSync(join(layer, 'd/old'), { bigint: true }).mtimeNs, wanted, form);
  }
  const v7 = execFileSync('tar', ['-C', from, '--format=v7', '--mtime=@1', '-cf', '-', '.']);
  const { directory: layer } = await unpack(directory.path, Buffer.concat([v7, Buffer.alloc(4096), v7]));
  assert.equal(readFileSync(join(layer, 'd/old'), 'utf8'), 'old');
  const global = execFileSync('tar', [
    '-C',
    from,
    '--format=posix',
    '--pax-option=globexthdr.name=g,comment=x,hdrcharset=BINARY',
    '-cf',
    '-',
    '.',
  ]);
  const { directory: third } = await unpack(directory.path, global);
  assert.equal(readFileSync(join(third, 'd/old'), 'utf8'), 'old');
  const record = (key: string, value: string) => paxRecord(key, Buffer.from(value));
  const header = (records: Buffer, flag: string) =>
    Buffer.concat([
      headerBlock({ name: flag }, flag, records.length),
      records,
      Buffer.alloc((512 - (records.length % 512)) % 512),
    ]);
  const owned = Buffer.concat([
    header(record('uid', '77'), 'g'),
    header(record('gid', '88'), 'g'),
    makeTar([{ name: 'both' }]).subarray(0, 512),
    header(record('uid', '99'), 'x'),
    makeTar([{ name: 'own' }]),
  ]);
  const { directory: fourth } = await unpack(directory.path, owned);
  const idsOf = (name: string) => [lstatSync(join(fourth, name)).uid, lstatSync(join(fourth, name)).gid];
  assert.deepEqual(
    [idsOf('both'), idsOf('own')],
    [
      [77, 88],
      [99, 88],
    ],
  );
});
