import assert from 'node:assert/strict';
import test from 'node:test';
import type { TarEntry } from './entry.ts';
import { TarReader } from './reader.ts';
import { type TarMember, tarEnd, tarHeader, tarPadding } from './writer.ts';

const member = (changes: Partial<TarMember>): TarMember => ({
  type: 'file',
  name: 'a',
  mode: 0o644,
  uid: 0,
  gid: 0,
  size: 0,
  mtime: 0,
  ...changes,
});

function read(archive: Buffer): { entries: TarEntry[]; content: Buffer; ended: boolean } {
  const entries: TarEntry[] = [];
  const pieces: Uint8Array[] = [];
  const reader = new TarReader({
    entry: (entry) => entries.push(entry),
    data: (piece) => pieces.push(piece),
    entryEnd() {},
  });
  reader.write(archive);
  reader.end();
  return { entries, content: Buffer.concat(pieces), ended: reader.ended };
}

test('what is written is read as it was: short and long names, large ids, links, bytes that are no UTF-8', () => {
  const members = [
    member({ mode: 0o4755, uid: 7, gid: 8, size: 5, mtime: 1_700_000_000 }),
    member({ type: 'directory', name: `${'d'.repeat(90)}/${'e'.repeat(90)}/` }),
    member({ type: 'symlink', name: 'l', link: `/${'x'.repeat(300)}` }),
    member({ name: '\xff\xfe', uid: 0o10000000, gid: 4_294_967_294, mtime: -5 }),
  ];
  const archive = Buffer.concat(
    members.flatMap((one) => [tarHeader(one), Buffer.alloc(one.size, 'c'), tarPadding(one.size)]),
  );
  const { entries, content, ended } = read(Buffer.concat([archive, tarEnd()]));
  assert.equal(content.toString(), 'ccccc');
  assert.equal(ended, true);
  for (const [at, { type, name, mode, uid, gid, size, link = '', mtime }] of members.entries()) {
    const found = entries[at];
    assert.deepEqual(
      [found?.type, found?.name, found?.mode, found?.uid, found?.gid, found?.size, found?.link, found?.mtime],
      [type, name, mode, uid, gid, size, link, BigInt(Math.max(0, mtime)) * 1_000_000_000n],
    );
  }
  assert.equal(read(archive).ended, false, 'an archive without its end is reported');
});

test('a size beyond eleven octal digits is in a pax record', () => {
  const header = tarHeader(member({ size: 2 ** 33 }));
  const entries: TarEntry[] = [];
  const reader = new TarReader({ entry: (entry) => entries.push(entry), data() {}, entryEnd() {} });
  reader.write(header);
  assert.equal(entries[0]?.size, 2 ** 33);
});
