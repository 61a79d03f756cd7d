import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { NetworkCollector } from './network-collector.ts';

const turns = () => new Promise((resolve) => setImmediate(resolve));

test('a reload that leaves the interval as it was does not put off the next round', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let [rounds, interval] = [0, 1_000];
  const sandboxes = { list: () => [], get: () => undefined };
  const directories = {
    *[Symbol.iterator]() {
      rounds++;
      yield* [];
    },
  };
  const context = { directories, sandboxes, root: '/nonexistent', state: '/nonexistent', log: silentLog };
  const collector = new NetworkCollector(
    { ...context, kernel: { processes: {} }, cni: { environment: {} } } as unknown as Context,
    { interval: () => interval, onRound() {} },
  );
  const round = async (count: number) => {
    while (rounds < count) await turns();
    for (let turn = 0; turn < 50; turn++) await turns();
  };
  collector.begin();
  t.mock.timers.tick(1);
  await round(1);
  t.mock.timers.tick(900);
  collector.update();
  t.mock.timers.tick(100);
  await round(2);
  interval = 10;
  collector.update();
  t.mock.timers.tick(10);
  await round(3);
  await collector.close();
  assert.equal(rounds, 3);
});
