import assert from 'node:assert/strict';
import test from 'node:test';
import { nriRows, nriTable, orderOf, type PodStarts } from './nri-results.ts';

/** Rounds whose pods take longer and longer: what a busy machine does to all three. */
const drifting = (count: number, none: number, one: number): PodStarts[] =>
  Array.from({ length: count }, (_, at) => {
    const off = 50 + at;
    return { off, 'no plugin': off + none, 'one plugin': off + one };
  });

test('differences are of the pods of one round, with their bounds and targets', () => {
  const [off, none, one] = nriRows(drifting(101, 0.5, 1.5));
  assert.deepEqual(off, { mode: 'off', n: 101, p50: 100, more: null });
  assert.deepEqual(none?.more, { p50: 0.5, from: 0.5, to: 0.5, target: 1 });
  assert.deepEqual([one?.p50, one?.more?.p50, one?.more?.target], [101.5, 1.5, 1]);
  assert.deepEqual(nriRows([]), []);
});

test('the bounds are the ranks of the sign test; of few rounds they are the extremes', () => {
  const rounds = (count: number) =>
    Array.from({ length: count }, (_, at) => ({ off: 0, 'no plugin': at, 'one plugin': -at }));
  const more = (count: number) => nriRows(rounds(count))[1]?.more;
  assert.deepEqual([more(100)?.from, more(100)?.to], [40, 59]);
  assert.deepEqual([more(3)?.from, more(3)?.to], [0, 2]);
});

test('the table says what is met, what is missed, and what another run may tell otherwise', () => {
  const lines = nriTable(nriRows(drifting(101, 0.5, 1.5))).split('\n');
  assert.match(lines[2] ?? '', /^\| off \| 101 \| 100\.00 \| – /);
  assert.match(lines[3] ?? '', /^\| no plugin .*\+0\.50 ms, \+0\.50 % .* ≤ 1 % met \|$/);
  assert.match(lines[4] ?? '', /^\| one plugin .*\+1\.50 ms.* ≤ 1 ms MISSED \|$/);
  const noisy = [0, 5, -5].map((by) => ({ off: 50, 'no plugin': 50 + by, 'one plugin': 52 + by }));
  const table = nriTable(nriRows(noisy));
  assert.match(table, /no plugin .*-5\.00 to \+5\.00 ms .*≤ 1 % met, noisy/);
  assert.match(table, /one plugin .*≤ 1 ms MISSED, noisy/);
});

test('each mode comes first, in the middle and last as often, and after each other one', () => {
  const orders = Array.from({ length: 6 }, (_, round) => orderOf(round).join());
  assert.equal(new Set(orders).size, 6);
  assert.equal(orderOf(6).join(), orders[0]);
});
