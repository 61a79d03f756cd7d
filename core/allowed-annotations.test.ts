import assert from 'node:assert/strict';
import test from 'node:test';
import { findAnnotation, isAllowed } from './allowed-annotations.ts';

test('a prefix covers keys that begin with it, and the empty one none', () => {
  assert.ok(isAllowed('a.io/x', ['b', 'a.io/']));
  assert.ok(!isAllowed('a.io/x', ['', 'a.io/xy', 'io/x']));
  assert.ok(!isAllowed('a', []));
});

test('the first key that is there counts; allowing one name allows its twins', () => {
  const keys = ['new.io', 'old.io/New'];
  const find = (annotations: Record<string, string>, prefixes: string[]) =>
    findAnnotation(annotations, keys, prefixes);
  assert.equal(find({ other: '1' }, ['new']), undefined);
  assert.deepEqual(find({ 'old.io/New': '1', 'new.io': '2' }, []), {
    key: 'new.io',
    value: '2',
    allowed: false,
  });
  assert.deepEqual(find({ 'old.io/New': '1' }, ['new.io']), { key: 'old.io/New', value: '1', allowed: true });
  assert.deepEqual(find({ 'new.io': '' }, ['old.']), { key: 'new.io', value: '', allowed: true });
  assert.equal(findAnnotation({}, ['constructor', '__proto__'], ['c']), undefined);
});
