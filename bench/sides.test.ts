import assert from 'node:assert/strict';
import test from 'node:test';
import { isReady } from './sides.ts';

const condition = (type: string, status: boolean) => ({ type, status });
const ready = [condition('RuntimeReady', true), condition('NetworkReady', true)];

test('a server is ready with its runtime and network, whatever other conditions it reports', () => {
  assert.ok(isReady(ready));
  assert.ok(isReady([...ready, condition('ContainerdHasNoDeprecationWarnings', false)]));
  assert.ok(!isReady([condition('RuntimeReady', true), condition('NetworkReady', false)]));
  assert.ok(!isReady([condition('RuntimeReady', true)]));
  assert.ok(!isReady());
});
