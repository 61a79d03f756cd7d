import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { formatWait, readRetryAfter } from './retry-after.ts';

test('seconds and dates', () => {
  const now = Date.parse('Sun, 06 Nov 1994 08:49:37 GMT');
  assert.equal(readRetryAfter(' 120 '), 120_000);
  assert.equal(readRetryAfter('0'), 0);
  assert.equal(readRetryAfter('Sun, 06 Nov 1994 08:50:37 GMT', now), 60_000);
  assert.equal(readRetryAfter('Sun Nov  6 08:50:37 1994 GMT', now), 60_000, 'asctime');
  assert.equal(readRetryAfter('Sun, 06 Nov 1994 08:48:37 GMT', now), 0, 'a date that is over');
  for (const wrong of [undefined, '', '-1', '1.5', 'soon', '1e9', '12345678901', 'Sunday'])
    assert.equal(readRetryAfter(wrong), undefined, wrong);
});

test('any value is a bounded wait or none', () => {
  fc.assert(
    fc.property(fc.oneof(fc.string(), fc.date().map(String), fc.nat().map(String)), (text) => {
      const wait = readRetryAfter(text);
      return wait === undefined || (wait >= 0 && wait <= 366 * 24 * 3_600_000);
    }),
  );
});

test('waits in messages', () => {
  assert.deepEqual([1, 45_000, 600_000, 21_600_000].map(formatWait), ['1 s', '45 s', '10 min', '6 h']);
});
