import assert from 'node:assert/strict';
import test from 'node:test';
import { silentLog } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { NetworkCollector } from './network-collector.ts';

const turns = () => new Promise((resolve) => setImmediate(resolve));

interface Ground {
  rounds: number;
  readonly collector: NetworkCollector;
  /** Waits until so many rounds have begun, and ended. */
  round(count: number): Promise<void>;
}

/** `look`: at the networks, at each round. */
function groundOf(interval: () => number, look: () => void = () => {}): Ground {
  const directories = {
    *[Symbol.iterator]() {
      ground.rounds++;
      look();
      yield* [];
    },
  };
  const sandboxes = { list: () => [], get: () => undefined };
  const context = { directories, sandboxes, root: '/nonexistent', state: '/nonexistent', log: silentLog };
  const collector = new NetworkCollector(
    { ...context, kernel: { processes: {} }, cni: { environment: {} } } as unknown as Context,
    { interval, onRound() {} },
  );
  const ground: Ground = {
    rounds: 0,
    collector,
    async round(count) {
      while (ground.rounds < count) await turns();
      for (let turn = 0; turn < 50; turn++) await turns();
    },
  };
  return ground;
}

test('a round that fails is made again after a minute, not at the next interval', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  const ground = groundOf(
    () => 3_600_000,
    () => {
      if (ground.rounds === 1) throw new Error('the node is busy');
    },
  );
  ground.collector.begin();
  t.mock.timers.tick(1);
  await ground.round(1);
  t.mock.timers.tick(60_000);
  await ground.round(2);
  t.mock.timers.tick(60_000);
  for (let turn = 0; turn < 50; turn++) await turns();
  await ground.collector.close();
  assert.equal(ground.rounds, 2);
});

test('a reload that leaves the interval as it was does not put off the next round', async (t) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  let interval = 1_000;
  const ground = groundOf(() => interval);
  const { collector, round } = ground;
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
  assert.equal(ground.rounds, 3);
});
