import assert from 'node:assert/strict';
import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { Directories } from './directories.ts';
import { DirectoryTable } from './directory-table.ts';
import { BLOCK } from './format.ts';
import { ImageFile } from './image-file.ts';
import { Metadata } from './metadata.ts';
import { LayerNames, ROOT } from './tree.ts';
import { encodeXattr, XattrTable } from './xattr-table.ts';

/** Attributes that all come after 16 GiB. */
class FarXattrs extends XattrTable {
  override id(): undefined {}
}

for (const { place, values, fits } of [
  { place: 'root', values: [2500], fits: true },
  { place: 'root', values: [2000, 2000], fits: false },
  { place: 'directory', values: [60_000, 60_000, 60_000, 60_000], fits: true },
  { place: 'directory', values: [60_000, 60_000, 60_000, 60_000, 60_000], fits: false },
]) {
  test(`attributes of a ${place} after 16 GiB are ${fits ? 'stored' : 'refused'}: ${values} bytes`, (t) => {
    const base = mkdtempSync(join(process.env['CRISP_TEST_DIR'] ?? tmpdir(), 'directories-'));
    t.after(() => rmSync(base, { recursive: true }));
    using image = new ImageFile(join(base, 'image'));
    const metadata = new Metadata(image);
    const xattrs = new FarXattrs(image, metadata);
    const table = new DirectoryTable(xattrs);
    const names = new LayerNames();
    const attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n };
    table.set(ROOT, attributes);
    const below = names.addDirectory(ROOT);
    table.set(below, attributes);
    names.add(ROOT, 'below', 2, below);
    const id = place === 'root' ? ROOT : below;
    for (const [n, bytes] of values.entries()) {
      const entry = encodeXattr(`user.${n}`, Buffer.alloc(bytes, 'v'));
      assert.ok(entry && table.setXattr(id, `user.${n}`, entry));
    }
    metadata.close();
    const source = { image, metadata, names, table, xattrs, nidOf: () => 0, nextIno: () => 1 };
    const first = Buffer.alloc(BLOCK);
    const write = () => [...new Directories(source).write(first)];
    if (!fits) {
      assert.throws(
        write,
        (error) =>
          hasCode(error, 'ResourceExhausted') && /after 16 GiB/.test(error.message) && error.hint !== '',
      );
      return;
    }
    write();
    const all = Buffer.concat([first, image.read(BLOCK, image.position - BLOCK)]);
    const kept = values.filter((bytes) => all.includes(Buffer.alloc(bytes, 'v')));
    assert.deepEqual(kept, values);
  });
}
