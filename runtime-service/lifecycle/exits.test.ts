import assert from 'node:assert/strict';
import test from 'node:test';
import { nowNanoseconds } from '../container.ts';
import { exitFrom, unknownExit } from './exits.ts';

const told = (code: number) => ({ code, finishedAt: 1_700_000_000_123_456_789n });

test('the code makes the reason, and the witness the time', () => {
  assert.deepEqual(exitFrom(told(0), false), { ...told(0), reason: 'Completed', message: '' });
  for (const code of [1, 137, 255])
    assert.deepEqual(exitFrom(told(code), false), { ...told(code), reason: 'Error', message: '' });
});

test('an OOM kill is the reason whatever the code: a child of the first process may have been the victim', () => {
  assert.deepEqual(exitFrom(told(137), true), { ...told(137), reason: 'OOMKilled', message: '' });
  assert.deepEqual(exitFrom(told(0), true), { ...told(0), reason: 'OOMKilled', message: '' });
});

test('without a witness an OOM kill is 137, else nothing is known; the end has a time either way', () => {
  const before = nowNanoseconds();
  const killed = exitFrom(undefined, true);
  const unknown = exitFrom(undefined, false);
  assert.deepEqual([killed.code, killed.reason], [137, 'OOMKilled']);
  assert.deepEqual([unknown.code, unknown.reason], [255, 'Unknown']);
  assert.notEqual(unknown.message, '');
  for (const exit of [killed, unknown, unknownExit()]) assert.ok(exit.finishedAt >= before);
});
