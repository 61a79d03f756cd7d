/** The tar reader alone: what it reads and what it refuses. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { mkdirSync, readFileSync, symlinkSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import fc from 'fast-check';
import { type ErrorCode, hasCode } from '#core/errors.ts';
import { TarReader } from '#core/tar/reader.ts';
import type { TarEntry, TarHandler } from '#image-service/unpack/entry.ts';
import { type EntrySpec, headerBlock, makeTar, paxRecord } from '../harness/images.ts';
import { testDirectory } from './service.ts';

class Collected implements TarHandler {
  readonly entries: { entry: TarEntry; content: string }[] = [];
  readonly #pieces: Buffer[] = [];

  entry(entry: TarEntry): void {
    this.entries.push({ entry, content: '' });
  }

  data(piece: Uint8Array): void {
    this.#pieces.push(Buffer.from(piece));
  }

  entryEnd(): void {
    const last = this.entries.at(-1);
    if (last) last.content = Buffer.concat(this.#pieces.splice(0)).toString('latin1');
  }
}

function read(archive: Buffer, cut = archive.length): Collected['entries'] {
  const handler = new Collected();
  const reader = new TarReader(handler);
  for (let at = 0; at < archive.length; at += cut) reader.write(archive.subarray(at, at + cut));
  reader.end();
  return handler.entries;
}

const refused = (archive: Buffer, code: ErrorCode) =>
  assert.throws(
    () => read(archive),
    (error) => hasCode(error, code),
  );

const spec: fc.Arbitrary<EntrySpec> = fc.record({
  name: fc
    .string({ minLength: 1, maxLength: 180, unit: fc.constantFrom('a', 'b', '/', '.', 'é', ' ') })
    .map((name) => `${name}x`),
  type: fc.constantFrom('file', 'directory', 'fifo', 'character'),
  content: fc.uint8Array({ maxLength: 1500 }),
  mode: fc.integer({ min: 0, max: 0o7777 }),
  uid: fc.integer({ min: 0, max: 0o7777777 }),
  mtime: fc.bigInt({ min: 0n, max: 4_000_000_000_000_000_000n }),
  xattrs: fc.dictionary(fc.constantFrom('user.a', 'user.b'), fc.uint8Array({ maxLength: 40 }), {
    maxKeys: 2,
  }),
});

test('what was written is read, in chunks of any size', () => {
  fc.assert(
    fc.property(fc.array(spec, { maxLength: 6 }), fc.integer({ min: 1, max: 2000 }), (specs, cut) => {
      const entries = read(makeTar(specs), cut);
      assert.equal(entries.length, specs.length);
      for (const [index, wanted] of specs.entries()) {
        const found = entries[index];
        assert.ok(found);
        assert.equal(found.entry.name, wanted.name);
        assert.equal(found.entry.mode, wanted.mode);
        assert.equal(found.entry.uid, wanted.uid);
        assert.equal(found.entry.mtime, wanted.mtime);
        const xattrs = Object.entries(wanted.xattrs ?? {}).map(
          ([key, value]) => [key, Buffer.from(value)] as const,
        );
        assert.deepEqual(found.entry.xattrs, new Map(xattrs));
        const content = Buffer.from(wanted.content ?? '').toString('latin1');
        assert.equal(found.content, found.entry.type === 'file' ? content : '');
      }
    }),
    { numRuns: 200 },
  );
});

test('GNU tar is understood: long names, links, big numbers', () => {
  using directory = testDirectory();
  const deep = join(directory.path, 'in', 'd'.repeat(120), 'e'.repeat(120));
  mkdirSync(deep, { recursive: true });
  writeFileSync(join(deep, 'f'.repeat(120)), 'deep');
  symlinkSync('t'.repeat(180), join(directory.path, 'in', 'link'));
  for (const format of ['gnu', 'pax']) {
    const file = join(directory.path, `${format}.tar`);
    execFileSync('tar', [
      '-C',
      join(directory.path, 'in'),
      `--format=${format}`,
      '--owner=big:3000000',
      '-cf',
      file,
      '.',
    ]);
    const entries = read(readFileSync(file));
    const found = entries.find(({ content }) => content === 'deep');
    assert.equal(found?.entry.name, `./${'d'.repeat(120)}/${'e'.repeat(120)}/${'f'.repeat(120)}`, format);
    assert.equal(found.entry.uid, 3_000_000, format);
    assert.equal(entries.find(({ entry }) => entry.type === 'symlink')?.entry.link, 't'.repeat(180), format);
  }
});

test('a size beyond 8 GiB is read in both forms', () => {
  const size = 9 * 1024 ** 3;
  const sizes: number[] = [];
  const handler: TarHandler = { entry: (entry) => sizes.push(entry.size), data() {}, entryEnd() {} };
  const binary = headerBlock({ name: 'big' }, '0', 0);
  binary.fill(0, 124, 136);
  binary[124] = 0x80;
  binary.writeBigUInt64BE(BigInt(size), 128);
  binary.fill(' ', 148, 156);
  const sum = binary.reduce((total, byte) => total + byte, 0);
  binary.write(`${sum.toString(8).padStart(6, '0')}\0 `, 148);
  new TarReader(handler).write(binary);
  const record = paxRecord('size', Buffer.from(String(size)));
  const body = Buffer.concat([record, Buffer.alloc(512 - record.length)]);
  new TarReader(handler).write(
    Buffer.concat([
      headerBlock({ name: 'x' }, 'x', record.length),
      body,
      headerBlock({ name: 'big' }, '0', 0),
    ]),
  );
  assert.deepEqual(sizes, [size, size]);
});

test('a damaged archive is reported', () => {
  const archive = makeTar([{ name: 'a', content: 'x'.repeat(700) }, { name: 'b' }]);
  for (const at of [100, 511, 513, 1000, 1700]) refused(archive.subarray(0, at), 'DataLoss');
  const flipped = Buffer.from(archive);
  flipped[3] = 0x7a;
  refused(flipped, 'DataLoss');
  refused(Buffer.alloc(512, 1), 'DataLoss');
  const pax = (body: string) =>
    Buffer.concat([headerBlock({ name: 'x' }, 'x', body.length), Buffer.from(body.padEnd(512, '\0'))]);
  for (const body of [
    '99 path=x\n',
    'x path=y\n',
    '11 pathx=y ',
    '0 a=b\n',
    '12 size=-12\n',
    '17 path=a\0b/../..\n'.slice(0, 17),
  ]) {
    refused(Buffer.concat([pax(body), archive]), 'DataLoss');
  }
  refused(Buffer.concat([headerBlock({ name: 'x' }, 'x', 8 << 20), archive]), 'DataLoss');
  for (const body of [
    '18 uid=4294967296\n',
    '18 gid=8589934592\n',
    '18 uid=4294967295\n',
    '18 gid=4294967295\n',
  ])
    refused(Buffer.concat([pax(body), archive]), 'DataLoss');
});

test('what is not supported is named', () => {
  refused(makeTar([{ name: 'odd', flag: 'Q' }]), 'Unimplemented');
  // This handler takes no holes.
  const sparse = { name: 'holes', flag: 'S' };
  assert.throws(
    () => read(makeTar([sparse])),
    (error) => hasCode(error, 'Unimplemented') && /sparse file "holes"/.test(error.message),
  );
});

test('random bytes never do more than throw', () => {
  const archive = makeTar([
    { name: 'a', content: 'hello' },
    { name: 'd/' },
    { name: 'n'.repeat(150), xattrs: { 'user.x': Buffer.from('y') } },
  ]);
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.nat(archive.length - 1), fc.nat(255)), { maxLength: 20 }), (flips) => {
      const bytes = Buffer.from(archive);
      for (const [at, value] of flips) bytes[at] = value;
      try {
        read(bytes);
      } catch (error) {
        assert.ok(error instanceof Error && error.name === 'CrispError', String(error));
      }
    }),
    { numRuns: 500 },
  );
});
