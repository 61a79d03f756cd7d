import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '#core/operation.ts';
import { IdleTrimmer } from './idle-trimmer.ts';

test('rest comes after the last change, soon and once more, and reads do not put it off', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let acts = 0;
  using rest = new IdleTrimmer(async () => void acts++, silentLog);
  t.mock.timers.tick(499);
  rest.ended('StartContainer');
  t.mock.timers.tick(499);
  assert.equal(acts, 0);
  rest.ended('ListContainers');
  t.mock.timers.tick(1);
  assert.equal(acts, 1);
  t.mock.timers.tick(20_000);
  assert.equal(acts, 2);
  t.mock.timers.tick(100_000);
  assert.equal(acts, 2);
  rest.ended('PullImage');
  t.mock.timers.tick(500);
  assert.equal(acts, 3);
});

test('a failure is told and ends nothing', async () => {
  const told: string[] = [];
  const log = { ...silentLog, warn: (_: object, text: string) => void told.push(text) };
  const { promise, resolve } = Promise.withResolvers<void>();
  using _rest = new IdleTrimmer(async () => {
    resolve();
    throw new Error('no');
  }, log);
  const alive = setTimeout(() => {}, 60_000); // the timer of the rest keeps nothing alive
  await promise;
  await new Promise(setImmediate);
  clearTimeout(alive);
  assert.deepEqual(told, ['memory cannot be given back']);
});
