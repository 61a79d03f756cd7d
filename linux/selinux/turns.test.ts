import assert from 'node:assert/strict';
import test, { type TestContext } from 'node:test';
import { setImmediate } from 'node:timers/promises';
import { hasCode } from '#core/errors.ts';
import { Turns } from './turns.ts';

/** Walks that end when the test decides, or at once where their signal is aborted. */
class Walks {
  readonly turns = new Turns();
  /** The names of those that have begun, in order. */
  readonly begun: string[] = [];
  readonly #ends = new Map<string, () => void>();

  walk(name: string, signal = new AbortController().signal): Promise<string> {
    return this.turns.run(name, signal, (end) => {
      this.begun.push(name);
      const { promise, resolve } = Promise.withResolvers<string | undefined>();
      this.#ends.set(name, () => resolve(name));
      end.addEventListener('abort', () => resolve(undefined));
      return promise;
    });
  }

  end(name: string): void {
    this.#ends.get(name)?.();
  }
}

const clock = (t: TestContext) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  return () => t.mock.timers.tick(1000);
};
const LONG = ['a', 'b', 'c', 'd'];

test('long walks do not hold up one that begins: the newest makes way, once, and goes on later', async (t) => {
  const second = clock(t);
  const walks = new Walks();
  const long = LONG.map((name) => walks.walk(name));
  await setImmediate();
  second();
  const few = walks.walk('few');
  await setImmediate();
  assert.deepEqual(walks.begun, [...LONG, 'few']);
  walks.end('few');
  assert.equal(await few, 'few');
  // The place stays free for those that begin: the one that has made way waits for a place of the long ones.
  const next = walks.walk('next');
  await setImmediate();
  assert.deepEqual(walks.begun.slice(4), ['few', 'next']);
  walks.end('a');
  await setImmediate();
  assert.deepEqual(walks.begun.slice(6), ['d']);
  second();
  const other = walks.walk('other');
  await setImmediate();
  // `next` has become long meanwhile, and is the one to make way.
  assert.deepEqual(walks.begun.slice(7), ['other']);
  for (const name of ['other', 'b', 'c', 'd']) walks.end(name);
  await setImmediate();
  walks.end('next');
  assert.deepEqual(await Promise.all([...long, next, other]), [...LONG, 'next', 'other']);
  assert.deepEqual(walks.begun.slice(8), ['next']);
});

test('four long walks use all places while no other waits', async (t) => {
  const second = clock(t);
  const walks = new Walks();
  const long = LONG.map((name) => walks.walk(name));
  await setImmediate();
  second();
  await setImmediate();
  for (const name of LONG) walks.end(name);
  assert.deepEqual(await Promise.all(long), LONG);
  assert.deepEqual(walks.begun, LONG);
});

test('the abort of one that waits, or runs, frees its place', async () => {
  const walks = new Walks();
  const [running, waiting] = [new AbortController(), new AbortController()];
  const first = walks.walk('first', running.signal);
  const others = ['b', 'c', 'd'].map((name) => walks.walk(name));
  const left = walks.walk('left', waiting.signal);
  const last = walks.walk('last');
  await setImmediate();
  waiting.abort();
  await assert.rejects(left, (error) => hasCode(error, 'Cancelled'));
  running.abort();
  await assert.rejects(first, (error) => hasCode(error, 'Cancelled'));
  await setImmediate();
  for (const name of ['b', 'c', 'd', 'last']) walks.end(name);
  assert.deepEqual(await Promise.all([...others, last]), ['b', 'c', 'd', 'last']);
});
