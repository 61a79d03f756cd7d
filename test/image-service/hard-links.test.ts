/** Hard links to what lower layers have. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import {
  closeSync,
  ftruncateSync,
  lstatSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  readSync,
  statSync,
  writeSync,
} from 'node:fs';
import { join } from 'node:path';
import test from 'node:test';
import type { EntrySpec } from '../harness/images.ts';
import { testDirectory } from './service.ts';
import { bytesOnDisk, unpack } from './unpack-here.ts';

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
  const { size, ino } = statSync(copy);
  assert.equal(size, 2 * GiB);
  const bytes = bytesOnDisk(upper.directory, 'link');
  assert.ok(bytes < 4 << 20, `${bytes} bytes`);
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

test('a hard link has what its target was at its place of the archive, and brings nothing back', async () => {
  using directory = testDirectory();
  const lower = await unpack(directory.path, [
    { name: './' },
    { name: 'd/' },
    { name: 'd/old', content: 'old' },
    { name: 'old', content: 'old' },
  ]);
  const link = (name: string, target: string) => ({ name, type: 'hardlink', link: target }) as const;
  const cases: readonly [EntrySpec[], Record<string, string>][] = [
    [[link('new', 'old'), { name: '.wh.old' }], { new: 'old', old: 'whiteout' }],
    [[link('new', 'old'), { name: 'old', content: 'other' }], { new: 'old', old: 'other' }],
    [[link('new', 'd/old'), { name: '.wh.d' }], { new: 'old', d: 'whiteout' }],
    [[link('new', 'd/old'), { name: 'd/' }, { name: '.wh.d' }], { new: 'old', d: '' }],
    [[link('new', 'd/old'), { name: 'd', content: 'file' }], { new: 'old', d: 'file' }],
    [
      [link('a', 'd/old'), link('b', 'd/old'), link('c', 'a'), { name: '.wh.d' }],
      { a: 'old', b: 'old', c: 'old' },
    ],
    [[link('new', 'old'), { name: '.wh..wh..opq' }], { new: 'old' }],
    // A link that replaces what is below: the whiteout of its name may come before or after it.
    [[link('d/old', 'old'), { name: 'd/.wh.old' }], { 'd/old': 'old', old: 'old' }],
    [[{ name: 'd/.wh.old' }, link('d/old', 'old')], { 'd/old': 'old', old: 'old' }],
    [[link('new', 'later'), { name: 'later', content: 'later' }], { new: 'later', later: 'later' }],
  ];
  for (const [n, [entries, wanted]] of cases.entries()) {
    const { directory: layer } = await unpack(
      directory.path,
      [{ name: './' }, ...entries],
      [lower.directory],
    );
    for (const [path, content] of Object.entries(wanted)) {
      const stat = lstatSync(join(layer, path));
      if (content === 'whiteout') assert.ok(stat.isCharacterDevice(), `${n} ${path}`);
      else if (content === '') assert.deepEqual(readdirSync(join(layer, path)), [], `${n} ${path}`);
      else assert.equal(readFileSync(join(layer, path), 'utf8'), content, `${n} ${path}`);
    }
    if ('c' in wanted) assert.equal(statSync(join(layer, 'a')).nlink, 3);
  }
});

test('a hard link takes the place of what an earlier one has brought there', async () => {
  using directory = testDirectory();
  const lower = await unpack(directory.path, [
    { name: './' },
    { name: 'one', content: '1' },
    { name: 'two', content: '2' },
    { name: 'd/' },
  ]);
  const link = (name: string, target: string) => ({ name, type: 'hardlink', link: target }) as const;
  const { directory: layer } = await unpack(
    directory.path,
    [{ name: './' }, link('first', 'one'), link('one', 'two')],
    [lower.directory],
  );
  const contents = ['first', 'one', 'two'].map((name) => readFileSync(join(layer, name), 'utf8'));
  assert.deepEqual(contents, ['1', '2', '2']);
  assert.deepEqual([lstatSync(join(layer, 'first')).nlink, lstatSync(join(layer, 'one')).nlink], [1, 2]);
  await assert.rejects(
    unpack(directory.path, [{ name: './' }, link('x', 'later'), { name: 'later/' }], [lower.directory]),
    /a hard link to the directory/,
  );
});
