import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { isSliceName, sliceChain, sliceOf, sliceOfPath, slicePath, sliceWithin } from './slice-names.ts';

const part = fc.stringMatching(/^[A-Za-z0-9:_.]{1,12}$/);
const name = fc.array(part, { minLength: 1, maxLength: 5 }).map((parts) => `${parts.join('-')}.slice`);

test('the dashes of a slice’s name are its path', () => {
  assert.equal(
    slicePath('kubepods-burstable-pod1.slice'),
    '/kubepods.slice/kubepods-burstable.slice/kubepods-burstable-pod1.slice',
  );
  assert.equal(slicePath('-.slice'), '/');
  assert.deepEqual(sliceChain('a-b.slice'), ['a.slice', 'a-b.slice']);
});

test('name, name with a slash and expanded path mean the same slice', () => {
  fc.assert(
    fc.property(name, (slice) => {
      assert.ok(isSliceName(slice));
      const path = slicePath(slice);
      for (const form of [slice, `/${slice}`, path, `${path}/`]) assert.equal(sliceOf(form), slice, form);
      assert.equal(path.split('/').pop(), slice);
      assert.equal(path.split('/').length - 1, slice.split('-').length);
    }),
  );
});

test('a path that is not that of its last slice is not a parent', () => {
  fc.assert(
    fc.property(name, part, (slice, other) => {
      fc.pre(slicePath(slice) !== `/${other}.slice/${slice}`);
      assert.equal(sliceOf(`/${other}.slice/${slice}`), undefined);
    }),
  );
  for (const wrong of ['', '/', '/kubepods/pod1', '/kubepods/pod1.slice', 'a.scope', '../a.slice'])
    assert.equal(sliceOf(wrong), undefined, wrong);
});

test('names that systemd refuses are refused', () => {
  for (const wrong of [
    'a--b.slice',
    '-a.slice',
    'a-.slice',
    '.slice',
    'a b.slice',
    'a/b.slice',
    'a@b.slice',
    'ä.slice',
  ])
    assert.equal(isSliceName(wrong), false, wrong);
  assert.equal(isSliceName(`${'a'.repeat(249)}.slice`), true);
  assert.equal(isSliceName(`${'a'.repeat(250)}.slice`), false);
});

test('every cgroup path has a slice of its own, one level a segment', () => {
  const segment = fc
    .string({ unit: 'binary', minLength: 1, maxLength: 8 })
    .filter((text) => !text.includes('/'));
  const path = fc.array(segment, { minLength: 1, maxLength: 4 }).map((segments) => `/${segments.join('/')}`);
  fc.assert(
    fc.property(path, path, (one, other) => {
      const slice = sliceOfPath(one);
      assert.ok(slice.length > 255 || isSliceName(slice), slice);
      assert.equal(sliceChain(slice).length, one.split('/').length - 1);
      assert.equal(slice === sliceOfPath(other), one === other);
    }),
  );
  assert.equal(sliceOfPath('/crisp-test-1'), 'crisp\\x2dtest\\x2d1.slice');
  assert.equal(sliceOfPath('/'), '-.slice');
});

test('a slice within another is its child', () => {
  assert.equal(sliceWithin('crisp.slice', 'pod1'), 'crisp-pod1.slice');
  assert.equal(sliceWithin('-.slice', 'pod1'), 'pod1.slice');
});
