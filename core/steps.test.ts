import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from './errors.ts';
import { Operation } from './operation.ts';
import { runEach } from './steps.ts';

test('a step that fails keeps no other from running; the error names all that failed', async () => {
  const ran: string[] = [];
  const op = new Operation('recovery');
  const steps = {
    first: () => {
      ran.push('first');
      throw new Error('no inotify');
    },
    second: async () => void ran.push('second'),
    third: () => Promise.reject(new Error('no disk')),
    fourth: () => void ran.push('fourth'),
  };
  await assert.rejects(runEach(op, steps), (error) => {
    assert.ok(hasCode(error, 'Internal'));
    assert.equal(error.message, 'recovery: first: no inotify; third: no disk');
    return true;
  });
  assert.deepEqual(ran, ['first', 'second', 'fourth']);
  assert.deepEqual(
    op.stages.map(({ name, failed }) => [name, failed]),
    [
      ['first', true],
      ['second', false],
      ['third', true],
      ['fourth', false],
    ],
  );
});
