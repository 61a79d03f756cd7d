import assert from 'node:assert/strict';
import test from 'node:test';
import { createdAfter } from './created-at.ts';

test('the next attempt is created after those before it, also where the clock has stepped back', () => {
  assert.equal(createdAfter([], 5n), 5n);
  assert.equal(createdAfter([3n, 4n], 5n), 5n);
  assert.ok(createdAfter([5n], 5n) > 5n);
  assert.ok(createdAfter([900n, 7n, 901n], 5n) > 901n);
});
