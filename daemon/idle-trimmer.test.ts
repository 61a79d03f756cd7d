import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '#core/operation.ts';
import { IdleTrimmer } from './idle-trimmer.ts';

test('memory is released soon after the last change and once more, and reads do not delay it', (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let [acts, last] = [0, 0];
  using idle = new IdleTrimmer(async (isLast) => {
    acts++;
    if (isLast) last++;
  }, silentLog);
  t.mock.timers.tick(499);
  idle.ended('StartContainer');
  t.mock.timers.tick(499);
  assert.equal(acts, 0);
  idle.ended('ListContainers');
  t.mock.timers.tick(1);
  assert.equal(acts, 1);
  assert.equal(last, 0);
  t.mock.timers.tick(20_000);
  assert.deepEqual([acts, last], [2, 1]);
  t.mock.timers.tick(100_000);
  assert.equal(acts, 2);
  idle.ended('PullImage');
  t.mock.timers.tick(500);
  assert.equal(acts, 3);
});

test('a failure is logged and ends nothing', async () => {
  const logged: string[] = [];
  const log = { ...silentLog, warn: (_: object, text: string) => void logged.push(text) };
  const { promise, resolve } = Promise.withResolvers<void>();
  using _idle = new IdleTrimmer(async () => {
    resolve();
    throw new Error('no');
  }, log);
  const alive = setTimeout(() => {}, 60_000); // its own timer is unref'd
  await promise;
  await new Promise(setImmediate);
  clearTimeout(alive);
  assert.deepEqual(logged, ['memory cannot be released']);
});
