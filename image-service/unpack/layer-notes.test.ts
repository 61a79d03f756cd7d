import assert from 'node:assert/strict';
import test from 'node:test';
import { LayerNotes } from './layer-notes.ts';

test('dropping a path drops all below it, and nothing beside it', () => {
  const notes = new LayerNotes();
  for (const path of ['', 'a', 'a/b', 'a/b/c', 'ab', 'a.b/c']) notes.at(path).mtime = 1n;
  notes.drop('a');
  const remaining = () => [...notes].filter(([, { mtime }]) => mtime !== undefined).map(([path]) => path);
  assert.deepEqual(remaining().sort(), ['', 'a.b/c', 'ab']);
  assert.equal(notes.find('a/b'), undefined);
  notes.at('a/b/c').mtime = 2n;
  assert.deepEqual(
    remaining().filter((path) => path.startsWith('a/')),
    ['a/b/c'],
  );
  notes.drop('not/there');
  notes.drop('');
  assert.deepEqual(remaining(), []);
});

test('each path comes after those above it, in whatever order they were noted', () => {
  const notes = new LayerNotes();
  for (const path of ['x/y/z', 'x', 'a/b', 'x/y', 'a']) notes.at(path).implied = true;
  const order = [...notes].map(([path]) => path);
  for (const path of order) {
    const above = path.slice(0, Math.max(0, path.lastIndexOf('/')));
    assert.ok(order.indexOf(above) <= order.indexOf(path), path);
  }
});

// If each drop checked every note this would take hours.
test('a hundred thousand directories are dropped one by one, and one of the greatest depth', () => {
  const notes = new LayerNotes();
  for (let n = 0; n < 100_000; n++) notes.at(`d${n}/in`).mtime = 1n;
  for (let n = 0; n < 100_000; n++) notes.drop(`d${n}`);
  const deep = 'd/'.repeat(2000);
  notes.at(`${deep}x`).mtime = 1n;
  assert.equal([...notes].length, 2002);
  notes.drop('d');
  assert.equal([...notes].length, 1);
});
