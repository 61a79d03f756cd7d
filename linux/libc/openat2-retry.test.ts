import assert from 'node:assert/strict';
import test from 'node:test';
import { EAGAIN, retried } from './openat2-retry.ts';

test('EAGAIN is tried again, another result is not, and there is an end', () => {
  const results = [-EAGAIN, -EAGAIN, 7, -2];
  const isAgain = (result: number) => result === -EAGAIN;
  const next = () => results.shift() ?? 0;
  assert.equal(retried(next, isAgain), 7);
  assert.equal(retried(next, isAgain), -2);
  assert.equal(
    retried(() => -EAGAIN, isAgain),
    -EAGAIN,
  );
});
