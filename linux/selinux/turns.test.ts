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
  /** Those that their file system holds: the abort does not end them. */
  readonly held = new Set<string>();
  readonly #ends = new Map<string, () => void>();

  walk(name: string, signal = new AbortController().signal): Promise<string> {
    return this.turns.run(name, signal, (end) => {
      this.begun.push(name);
      const { promise, resolve } = Promise.withResolvers<string | undefined>();
      this.#ends.set(name, () => resolve(name));
      end.addEventListener('abort', () => this.held.has(name) || resolve(undefined));
      return promise;
    });
  }

  end(name: string): void {
    this.#ends.get(name)?.();
  }
}

const clock = (t: TestContext) => {
  t.mock.timers.enable({ apis: ['setTimeout'] });
  return (ms = 1000) => t.mock.timers.tick(ms);
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

test('where the one that is to make way is held by its file system, the next does', async (t) => {
  const pass = clock(t);
  const walks = new Walks();
  walks.held.add('d');
  const long = LONG.map((name) => walks.walk(name));
  await setImmediate();
  const few = walks.walk('few');
  pass();
  await setImmediate();
  assert.deepEqual(walks.begun, LONG);
  pass(100);
  await setImmediate();
  assert.deepEqual(walks.begun.slice(4), ['few']);
  const other = walks.walk('other');
  pass();
  // `few` has become long meanwhile. The one that is held is not asked again.
  await setImmediate();
  assert.deepEqual(walks.begun.slice(5), ['other']);
  for (const name of ['other', 'a', 'b']) walks.end(name);
  await setImmediate();
  assert.deepEqual(walks.begun.slice(6).toSorted(), ['c', 'few']);
  for (const name of ['c', 'few', 'd']) walks.end(name);
  assert.deepEqual(await Promise.all([...long, few, other]), [...LONG, 'few', 'other']);
  assert.equal(walks.turns.stuck, undefined);
});

test('walks that their file systems hold after their abort lose their places, up to four', async (t) => {
  const pass = clock(t);
  const walks = new Walks();
  const hold = async (names: string[]) => {
    const caller = new AbortController();
    for (const name of names) walks.held.add(name);
    const held = names.map((name) => walks.walk(name, caller.signal));
    await setImmediate();
    caller.abort();
    return held;
  };
  const first = await hold(LONG);
  const healthy = walks.walk('healthy');
  // Each timer begins at the end of a step.
  pass(100);
  pass(9_899);
  await setImmediate();
  assert.deepEqual(walks.begun, LONG);
  assert.equal(walks.turns.stuck, undefined);
  pass(1);
  await setImmediate();
  assert.deepEqual(walks.begun.slice(4), ['healthy']);
  assert.match(walks.turns.stuck ?? '', /^"a" \(\d+ s\), "b" .*"d" \(\d+ s\)$/);
  walks.end('healthy');
  assert.equal(await healthy, 'healthy');

  const more = await hold(['e', 'f', 'g', 'h']);
  pass(100);
  pass(9_900);
  await assert.rejects(walks.walk('refused'), (error) => {
    assert.ok(hasCode(error, 'Unavailable'));
    assert.match(error.message, /^refused: .*"a" .*"h"/);
    return true;
  });
  // Its place among those that have none goes to `e`, whose place the next one gets.
  walks.end('a');
  await setImmediate();
  const last = walks.walk('last');
  await setImmediate();
  assert.equal(walks.begun.at(-1), 'last');
  for (const name of [...walks.held, 'last']) walks.end(name);
  await Promise.allSettled([...first, ...more]);
  assert.equal(await last, 'last');
  assert.equal(walks.turns.stuck, undefined);
});
