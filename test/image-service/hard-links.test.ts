/** Hard links to what lower layers have. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { closeSync, ftruncateSync, mkdirSync, openSync, readSync, statSync, writeSync } from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import { testDirectory } from './service.ts';
import { unpack } from './unpack-here.ts';

test('a hard link to a file with holes of a lower layer copies its data alone', async () => {
  using directory = testDirectory();
  const from = join(directory.path, 'from');
  mkdirSync(from);
  const GiB = 1 << 30;
  const fd = openSync(join(from, 'sparse'), 'w');
  writeSync(fd, 'first', 0);
  writeSync(fd, 'second', GiB);
  ftruncateSync(fd, 2 * GiB);
  closeSync(fd);
  const archive = execFileSync('tar', ['-C', from, '-S', '--format=posix', '-cf', '-', '.']);
  const base = join(directory.path, 'layers');
  mkdirSync(base);
  const lower = await unpack(base, archive);
  const entry = { name: 'link', type: 'hardlink', link: 'sparse' } as const;
  const upper = await unpack(base, [{ name: './' }, entry], [lower.directory]);
  const copy = join(upper.directory, 'link');
  const { size, blocks, ino } = statSync(copy);
  assert.equal(size, 2 * GiB);
  assert.ok(blocks < 64, `${blocks} blocks`);
  assert.equal(ino, statSync(join(upper.directory, 'sparse')).ino);
  const at = (offset: number, text: string) => {
    const bytes = Buffer.alloc(text.length);
    const open = openSync(copy, 'r');
    readSync(open, bytes, 0, bytes.length, offset);
    closeSync(open);
    assert.equal(bytes.toString(), text);
  };
  at(0, 'first');
  at(GiB, 'second');
  at(GiB - 3, '\0\0\0sec');
});
