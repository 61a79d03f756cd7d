import assert from 'node:assert/strict';
import test from 'node:test';
import { ReloadQueue } from './queue.ts';

/** Reloads that end when they are asked to. */
function stand() {
  const queue = new ReloadQueue<number>();
  const running: PromiseWithResolvers<number>[] = [];
  const reload = () => {
    const one = Promise.withResolvers<number>();
    running.push(one);
    return one.promise;
  };
  return { queue, running, reload };
}

const turn = () => new Promise((resolve) => setImmediate(resolve));

test('requests before the daemon is ready wait, and are one reload', async () => {
  const { queue, running, reload } = stand();
  const early = [queue.request(), queue.request()];
  await turn();
  assert.equal(running.length, 0);
  queue.begin(reload);
  await turn();
  assert.equal(running.length, 1);
  running[0]?.resolve(1);
  assert.deepEqual(await Promise.all(early), [1, 1]);
});

test('a storm of requests during a reload is one more, which begins after them all', async () => {
  const { queue, running, reload } = stand();
  queue.begin(reload);
  const first = queue.request();
  await turn();
  const storm = Array.from({ length: 100 }, () => queue.request());
  await turn();
  assert.equal(running.length, 1, 'not two at a time');
  running[0]?.resolve(1);
  assert.equal(await first, 1);
  await turn();
  assert.equal(running.length, 2);
  running[1]?.resolve(2);
  assert.deepEqual(new Set(await Promise.all(storm)), new Set([2]));
});

test('one that is refused does not stop the next', async () => {
  const { queue, running, reload } = stand();
  queue.begin(reload);
  const refused = queue.request();
  await turn();
  const next = queue.request();
  running[0]?.reject(new Error('refused'));
  await assert.rejects(refused, /refused/);
  await turn();
  running[1]?.resolve(2);
  assert.equal(await next, 2);
});

test('at the stop the running one ends, the waiting one and later ones are refused', async () => {
  const { queue, running, reload } = stand();
  queue.begin(reload);
  const first = queue.request();
  await turn();
  const waiting = assert.rejects(queue.request(), /stopping/);
  let ended = false;
  const end = queue.end().then(() => (ended = true));
  await turn();
  assert.equal(ended, false);
  running[0]?.resolve(1);
  assert.equal(await first, 1);
  await Promise.all([waiting, end]);
  await assert.rejects(queue.request(), /stopping/);
  assert.equal(running.length, 1);
});

test('a stop before the daemon was ready', async () => {
  const { queue } = stand();
  const early = assert.rejects(queue.request(), /stopping/);
  await queue.end();
  await early;
});
