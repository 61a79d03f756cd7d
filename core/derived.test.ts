import assert from 'node:assert/strict';
import test from 'node:test';
import { derived } from './derived.ts';

test('what is derived of the same object is the same; of another that looks the same it is derived anew', () => {
  let count = 0;
  const view = derived(({ id }: { id: string }) => ({ id, count: ++count }));
  const record = { id: 'a' };
  assert.equal(view(record), view(record));
  assert.notEqual(view({ id: 'a' }), view(record));
  assert.equal(count, 2);
});
