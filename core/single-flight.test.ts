import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { KeyedQueue, SharedFlight, SingleFlight } from './single-flight.ts';

test('calls with one key join, others do not', async () => {
  const flight = new SingleFlight<string, number>();
  const gate = Promise.withResolvers<void>();
  let starts = 0;
  const start = async () => {
    starts++;
    await gate.promise;
    return starts;
  };
  const calls = [flight.run('a', start), flight.run('a', start), flight.run('b', start)];
  assert.equal(starts, 2);
  assert.equal(flight.size, 2);
  assert.equal(flight.get('a'), calls[0]);
  assert.equal(flight.get('c'), undefined);
  gate.resolve();
  assert.deepEqual(await Promise.all(calls), [2, 2, 2]);
  assert.equal(flight.size, 0);
});

test('all callers get a failure, and the next call starts anew', async () => {
  const flight = new SingleFlight<string, string>();
  const gate = Promise.withResolvers<string>();
  const failing = [flight.run('a', () => gate.promise), flight.run('a', async () => 'unused')];
  gate.reject(new Error('lost'));
  for (const call of failing) await assert.rejects(call, /lost/);
  assert.equal(await flight.run('a', async () => 'again'), 'again');
});

test('the entry is gone when the outcome arrives', async () => {
  const flight = new SingleFlight<string, number>();
  const sizes: number[] = [];
  const look = () => sizes.push(flight.size);
  await flight.run('a', async () => 1).then(look);
  await flight.run('a', () => Promise.reject(new Error('x'))).catch(look);
  assert.deepEqual(sizes, [0, 0]);
});

test('a start that throws at once leaves nothing behind', async () => {
  const flight = new SingleFlight<string, number>();
  const bad = () => {
    throw new Error('at once');
  };
  assert.throws(() => flight.run('a', bad), /at once/);
  assert.equal(flight.size, 0);
  assert.equal(await flight.run('a', async () => 2), 2);
});

test('changes under one key come one after another, in order, past failures', async () => {
  const queue = new KeyedQueue<string>();
  const log: string[] = [];
  const act =
    (name: string, fails = false) =>
    async () => {
      log.push(`${name} begins`);
      await turn();
      log.push(`${name} ends`);
      if (fails) throw new Error(name);
      return name;
    };
  const calls = [queue.run('k', act('a')), queue.run('k', act('b', true)), queue.run('k', act('c'))];
  const outcomes = await Promise.allSettled(calls);
  assert.deepEqual(
    outcomes.map(({ status }) => status),
    ['fulfilled', 'rejected', 'fulfilled'],
  );
  assert.deepEqual(log, ['a begins', 'a ends', 'b begins', 'b ends', 'c begins', 'c ends']);
});

test('different keys do not wait for each other', async () => {
  const queue = new KeyedQueue<string>();
  const gate = Promise.withResolvers<void>();
  const stuck = queue.run('a', () => gate.promise);
  assert.equal(await queue.run('b', async () => 'free'), 'free');
  gate.resolve();
  await stuck;
});

test('an act may enqueue under its own key', async () => {
  const queue = new KeyedQueue<string>();
  const log: string[] = [];
  let later: Promise<unknown> = Promise.resolve();
  await queue.run('k', async () => {
    later = queue.run('k', async () => log.push('later'));
    await turn();
    log.push('first');
  });
  await later;
  assert.deepEqual(log, ['first', 'later']);
});

test('shared work outlives each of its callers but the last', async () => {
  const flight = new SharedFlight<string, string>();
  const gate = Promise.withResolvers<string>();
  const signals: AbortSignal[] = [];
  const start = (signal: AbortSignal) => {
    signals.push(signal);
    return gate.promise;
  };
  const [first, second] = [new AbortController(), new AbortController()];
  const calls = [flight.run('a', first.signal, start), flight.run('a', second.signal, start)];
  first.abort(new Error('gone'));
  await assert.rejects(calls[0] as Promise<string>, /gone/);
  assert.equal(signals[0]?.aborted, false);
  gate.resolve('done');
  assert.equal(await calls[1], 'done');
  assert.equal(signals.length, 1);
});

test('who comes while abandoned work is being called off waits for that, and starts anew', async () => {
  const flight = new SharedFlight<string, string>();
  const gate = Promise.withResolvers<string>();
  const order: string[] = [];
  const first = new AbortController();
  const call = flight.run('a', first.signal, (signal) => {
    signal.addEventListener('abort', () => order.push('aborted'));
    return gate.promise.finally(() => order.push('called off'));
  });
  first.abort(new Error('gone'));
  await assert.rejects(call, /gone/);
  await turn();
  const { signal } = new AbortController();
  const again = flight.run('a', signal, async () => {
    order.push('anew');
    return 'second';
  });
  await turn();
  gate.reject(new Error('cancelled'));
  assert.equal(await again, 'second');
  assert.deepEqual(order, ['aborted', 'called off', 'anew']);
});
