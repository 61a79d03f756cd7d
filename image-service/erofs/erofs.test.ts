/** The bytes of the format, as Linux's documentation has them. */
import assert from 'node:assert/strict';
import test from 'node:test';
import { changeAcl, readAcl } from './acl.ts';
import { DirentBlocks, putDirents } from './dirents.ts';
import { BLOCK, INODE_SIZE, layouts, types } from './format.ts';
import { putInode, readShape } from './inode.ts';
import { Packer, PlacePlan } from './packer.ts';
import { crc32c, putSuperblock } from './superblock.ts';
import { kinds, LayerNames, ROOT } from './tree.ts';
import { bodyOf, encodeXattr, putXattrs } from './xattr-table.ts';

test('an inode has its fields where the kernel reads them', () => {
  const bytes = Buffer.alloc(INODE_SIZE, 0xee);
  const inode = {
    ...{ mode: 0o4755, uid: 0xffff_fffe, gid: 7, mtime: -1_500_000_001n, type: types.file.mode },
    ...{
      layout: layouts.inline,
      size: 2 ** 40 + 5,
      where: 0x01020304,
      ino: 9,
      nlink: 70_000,
      xattrBytes: 20,
    },
  };
  putInode(bytes, 0, inode);
  const wanted = [
    '0500', // extended, inline
    '0300', // (20 - 12) / 4 + 1
    'ed89', // a file, 04755
    '0000',
    '0500000000010000',
    '04030201',
    '09000000',
    'feffffff07000000',
    'feffffffffffffffff64cd1d', // 1.500000001 s before the epoch: -2 s and 499 999 999 ns
    '70110100',
    '00'.repeat(16),
  ].join('');
  assert.equal(bytes.toString('hex'), wanted);
  assert.deepEqual(readShape(bytes), { layout: 2, size: 2 ** 40 + 5, where: 0x01020304, xattrBytes: 20 });
});

test('the checksum is CRC-32C, and that of a superblock covers the rest of its block', () => {
  // The check value of CRC-32C is e3069283; the superblock's is not inverted at the end.
  assert.equal((crc32c(Buffer.from('123456789')) ^ 0xffff_ffff) >>> 0, 0xe3069283);
  const block = Buffer.alloc(BLOCK);
  block.write('behind it', 2000);
  putSuperblock(block, { rootNid: 36, inodes: 3, blocks: 2, uuid: Buffer.alloc(16, 1), chunked: true });
  const sum = block.readUInt32LE(1028);
  block.writeUInt32LE(0, 1028);
  assert.equal(sum, crc32c(block.subarray(1024)));
  assert.equal(block.readUInt32LE(1024), 0xe0f5e1e2);
  assert.deepEqual(
    [block.readUInt16LE(1038), block.readUInt32LE(1060), block.readUInt32LE(1104)],
    [36, 2, 4],
  );
});

test('entries of a directory: numbers first, names behind them, none across a block', () => {
  const bytes = Buffer.alloc(64);
  const length = putDirents(bytes, 0, [
    { nid: 2 ** 33 + 1, type: 2, name: Buffer.from('.') },
    { nid: 5, type: 1, name: Buffer.from('abc') },
  ]);
  assert.equal(length, 28);
  assert.equal(
    bytes.toString('hex', 0, length),
    `0100000002000000${'1800'}0200${'0500000000000000'}${'1900'}0100${'2e616263'}`,
  );
  const blocks = new DirentBlocks();
  const begins = Array.from({ length: 40 }, () => blocks.add(255));
  assert.deepEqual(
    begins.flatMap((begin, n) => (begin ? [n] : [])),
    [15, 30],
  );
  assert.equal(blocks.size, 2 * BLOCK + 10 * 267);
});

test('attributes: header, shared numbers, then names without their prefix, each a multiple of four', () => {
  const own = encodeXattr('user.a', Buffer.from('xyz'));
  assert.equal(own?.toString('hex'), '0101030061' + '78797a');
  assert.equal(encodeXattr('trusted.overlay.opaque', Buffer.from('y'))?.length, 20);
  assert.equal(encodeXattr('system.nfs4_acl', Buffer.from('y')), undefined);
  assert.equal(encodeXattr('user.a', Buffer.alloc(65_536)), undefined);
  const body = bodyOf([0x11223344], [own as Buffer]);
  const bytes = Buffer.alloc(body.bytes, 0xee);
  putXattrs(bytes, 0, body);
  assert.equal(bytes.toString('hex'), `00000000${'01'}${'00'.repeat(7)}44332211${own?.toString('hex')}`);
  assert.equal(bodyOf([], []).bytes, 0);
});

test('names are found by directory and name, and sorted by their bytes', () => {
  const names = new LayerNames();
  const below = names.addDirectory(ROOT);
  const texts = ['b', 'a', 'ab', '\xff', '!', '.x', 'B', ...Array.from({ length: 5000 }, (_, n) => `n${n}`)];
  const nodes = texts.map((text, n) => names.add(n % 2 ? below : ROOT, text, kinds.file, n));
  for (const [n, text] of texts.entries()) {
    assert.equal(names.find(n % 2 ? below : ROOT, text), nodes[n]);
    assert.equal(names.find(n % 2 ? ROOT : below, text), 0);
    assert.equal(names.value(nodes[n] as number), n);
  }
  const sorted = [...nodes].sort((one, other) => names.compare(one, other)).map((node) => names.text(node));
  assert.deepEqual(
    sorted,
    [...texts].sort((one, other) => Buffer.compare(Buffer.from(one, 'latin1'), Buffer.from(other, 'latin1'))),
  );
});

test('no item crosses a block, no two overlap, and a plan says where they come', () => {
  const packer = new Packer();
  const plan = new PlacePlan();
  const taken = new Set<number>();
  let base = 0;
  for (let n = 0; n < 3000; n++) {
    const size = n % 97 === 0 ? 5000 : 64 + ((n * 7919) % 4033);
    let offset = size > BLOCK ? -1 : packer.fit(size);
    if (offset < 0) {
      base += packer.length;
      packer.reset();
      offset = size > BLOCK ? 0 : packer.fit(size);
    }
    assert.equal(plan.take(size), base + offset);
    if (size > BLOCK) base += 2 * BLOCK;
    else {
      assert.ok((offset % BLOCK) + size <= BLOCK);
      for (let slot = (base + offset) / 32; slot < (base + offset + size) / 32; slot++) {
        assert.ok(!taken.has(slot));
        taken.add(slot);
      }
    }
  }
});

test('access control lists: what permission bits say too is none, and chmod changes the mask', () => {
  const entry = (tag: number, perm: number) => [tag, 0, perm, 0, 0xff, 0xff, 0xff, 0xff];
  const list = (...entries: number[][]) => Buffer.from([2, 0, 0, 0, ...entries.flat()]);
  const full = list(entry(1, 6), entry(2, 7), entry(4, 4), entry(16, 5), entry(32, 1));
  assert.deepEqual(readAcl(full), { form: 'list', bits: 0o651 });
  assert.deepEqual(readAcl(list(entry(1, 6), entry(4, 4), entry(32, 0))), { form: 'bits', bits: 0o640 });
  assert.deepEqual(readAcl(changeAcl(full, 0o123)), { form: 'list', bits: 0o123 });
  for (const wrong of [
    list(entry(1, 6), entry(2, 7), entry(4, 4), entry(32, 1)), // a user without a mask
    list(entry(1, 6), entry(4, 4)),
    list(entry(4, 4), entry(1, 6), entry(32, 1)),
    list(entry(1, 8), entry(4, 4), entry(32, 1)),
    full.subarray(0, 20),
    Buffer.from([2]),
  ])
    assert.equal(readAcl(wrong).form, 'invalid');
  assert.equal(readAcl(Buffer.from([1, 0, 0, 0])).form, 'other version');
  assert.equal(readAcl(Buffer.from([2, 0, 0, 0])).form, 'empty');
});
