import assert from 'node:assert/strict';
import { mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import test from 'node:test';
import { files } from '#linux/fs/files.ts';
import { keepUnreadable } from './unreadable-records.ts';

test('what cannot be read is moved away, cut, and bounded in number', async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'crisp-unreadable-'));
  t.after(() => rmSync(place, { recursive: true }));
  const kept = join(place, 'kept');
  const keep = (path: string) => keepUnreadable(files, join(place, path), kept, 'pods-a.json');
  assert.equal(await keep('none'), undefined);
  assert.equal(await keep('none/record.json'), undefined);
  writeFileSync(join(place, 'large'), Buffer.alloc((1 << 20) + 7));
  assert.equal(readFileSync((await keep('large')) ?? '').length, 1 << 20);
  mkdirSync(join(place, 'directory/in'), { recursive: true });
  assert.deepEqual(readdirSync((await keep('directory')) ?? ''), ['in']);
  writeFileSync(join(place, 'file'), 'where a directory should be');
  assert.equal(readFileSync((await keep('file/record.json')) ?? '', 'utf8'), 'where a directory should be');
  for (let n = 0; n < 30; n++) {
    writeFileSync(join(place, 'x'), `${n}`);
    await keep('x');
    await new Promise((resolve) => setTimeout(resolve, 2));
  }
  const texts = readdirSync(kept).map((name) => readFileSync(join(kept, name), 'utf8'));
  assert.equal(texts.length, 20);
  assert.ok(texts.includes('29') && !texts.includes('0'));
});

test('what is moved in the same millisecond has a place of its own each', async (t) => {
  const place = mkdtempSync(join(tmpdir(), 'crisp-unreadable-'));
  t.after(() => rmSync(place, { recursive: true }));
  t.mock.timers.enable({ apis: ['Date'], now: 1_000 });
  const kept = join(place, 'kept');
  writeFileSync(join(place, 'file'), 'first');
  mkdirSync(join(place, 'pods/directory'), { recursive: true });
  await keepUnreadable(files, join(place, 'file'), kept, 'a');
  await keepUnreadable(files, join(place, 'pods/directory'), kept, 'a');
  assert.equal(readdirSync(kept).length, 2);
  assert.deepEqual(readdirSync(place).sort(), ['kept', 'pods'], 'the directory above stays');
});
