import assert from 'node:assert/strict';
import test from 'node:test';
import { nowNanoseconds } from '../container.ts';
import { exitFrom, unknownExit } from './exits.ts';

const report = (code: number) => ({ code, finishedAt: 1_700_000_000_123_456_789n });

test('the code makes the reason, and the source of truth the time', () => {
  assert.deepEqual(exitFrom(report(0), false), { ...report(0), reason: 'Completed', message: '' });
  for (const code of [1, 137, 255])
    assert.deepEqual(exitFrom(report(code), false), { ...report(code), reason: 'Error', message: '' });
});

test('an OOM kill is the reason whatever the code: a child of the first process may have been the victim', () => {
  assert.deepEqual(exitFrom(report(137), true), { ...report(137), reason: 'OOMKilled', message: '' });
  assert.deepEqual(exitFrom(report(0), true), { ...report(0), reason: 'OOMKilled', message: '' });
});

test('without an exit report an OOM kill is 137, else the code is unknown; there is a time either way', () => {
  const before = nowNanoseconds();
  const killed = exitFrom(undefined, true);
  const unknown = exitFrom(undefined, false);
  assert.deepEqual([killed.code, killed.reason], [137, 'OOMKilled']);
  assert.deepEqual([unknown.code, unknown.reason], [255, 'Unknown']);
  assert.notEqual(unknown.message, '');
  for (const exit of [killed, unknown, unknownExit()]) assert.ok(exit.finishedAt >= before);
});

test('a container does not end before it has started: the time of a file is up to a tick behind', () => {
  const { finishedAt } = report(0);
  assert.equal(exitFrom(report(0), false, finishedAt + 5n).finishedAt, finishedAt + 5n);
  assert.equal(exitFrom(report(137), true, finishedAt + 5n).finishedAt, finishedAt + 5n);
  assert.equal(exitFrom(report(0), false, finishedAt - 5n).finishedAt, finishedAt);
});
