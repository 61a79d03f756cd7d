import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import { NetworkGate } from './network-gate.ts';

const op = () => new Operation('test');
const SOON = 60_000;

/** Work that ends when the test says so. */
function work(log: string[], name: string): { act: () => Promise<string>; end: () => void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  const act = async () => {
    log.push(`${name} begins`);
    await promise;
    log.push(`${name} ends`);
    return name;
  };
  return { act, end: resolve };
}

const turns = () => new Promise((resolve) => setImmediate(resolve));

test('a GC begins when no ADD runs, and those that come meanwhile wait for it alone', async () => {
  const [gate, log] = [new NetworkGate(), [] as string[]];
  const [add, more, gc, other, late] = ['add', 'more', 'gc', 'other', 'late'].map((name) => work(log, name));
  assert.ok(add && more && gc && other && late);
  const first = gate.shared('a', op(), add.act);
  const collected = gate.exclusive('a', op(), SOON, gc.act);
  await turns();
  const second = gate.shared('a', op(), more.act);
  await turns();
  assert.deepEqual(log, ['add begins', 'more begins'], 'a GC that waits holds up nothing');
  add.end();
  await first;
  more.end();
  await second;
  await turns();
  assert.equal(log.at(-1), 'gc begins');
  const third = gate.shared('a', op(), late.act);
  const fourth = gate.shared('b', op(), other.act);
  await turns();
  assert.equal(log.at(-1), 'other begins', 'another network does not wait');
  gc.end();
  assert.equal(await collected, 'gc');
  late.end();
  other.end();
  assert.deepEqual(await Promise.all([third, fourth]), ['late', 'other']);
  assert.ok(log.indexOf('gc ends') < log.indexOf('late begins'));
});

test('a GC that fails lets the others go on; one that gets no turn says so', async () => {
  const [gate, log] = [new NetworkGate(), [] as string[]];
  await assert.rejects(
    gate.exclusive('a', op(), SOON, () => Promise.reject(new Error('why'))),
    /why/,
  );
  const add = work(log, 'add');
  const running = gate.shared('a', op(), add.act);
  await assert.rejects(
    gate.exclusive('a', op(), 10, async () => log.push('gc')),
    (error) => hasCode(error, 'DeadlineExceeded'),
  );
  add.end();
  await running;
  await turns();
  assert.deepEqual(log, ['add begins', 'add ends'], 'one whose time is over does not begin later');
});
