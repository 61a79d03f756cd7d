import assert from 'node:assert/strict';
import test from 'node:test';
import { hasLabels } from './filters.ts';

const labels = { app: 'web', tier: '', version: '1' };

test('no selector matches all, and so does an empty one', () => {
  assert.ok(hasLabels(labels, undefined));
  assert.ok(hasLabels(labels, {}));
  assert.ok(hasLabels({}, {}));
});

test('every pair must match exactly', () => {
  assert.ok(hasLabels(labels, { app: 'web', version: '1' }));
  assert.ok(!hasLabels(labels, { app: 'web', version: '2' }));
  assert.ok(!hasLabels(labels, { app: 'We' }));
  assert.ok(!hasLabels({}, { app: 'web' }));
});

test('an empty value is a value', () => {
  assert.ok(hasLabels(labels, { tier: '' }));
  assert.ok(!hasLabels(labels, { missing: '' }));
});

test('keys of Object.prototype are labels only where they are set', () => {
  const hostile: Record<string, string> = Object.create(null);
  for (const key of ['__proto__', 'constructor']) hostile[key] = 'x';
  assert.ok(!hasLabels(labels, hostile));
  assert.ok(!hasLabels({}, { toString: '' }));
  assert.ok(hasLabels(hostile, hostile));
  assert.ok(hasLabels(JSON.parse('{"__proto__": "x", "constructor": "x"}'), hostile));
});
