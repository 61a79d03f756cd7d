import assert from 'node:assert/strict';
import test from 'node:test';
import { quantile, rowNames, Samples } from './statistics.ts';

test('quantiles interpolate and do not depend on the order', () => {
  assert.equal(quantile([4, 1, 3, 2], 0.5), 2.5);
  assert.equal(quantile([5], 0.9), 5);
  assert.equal(quantile([10, 0], 0.9), 9);
  assert.throws(() => quantile([], 0.5), RangeError);
});

test('a ratio below 1 means that crisp is better, for times and for rates', () => {
  const samples = new Samples();
  for (const [side, time, rate] of [
    ['crisp', 10, 40],
    ['containerd', 40, 10],
  ] as const) {
    samples.add('ExecSync', side, time);
    samples.add('pods/s@8', side, rate);
  }
  const rows = samples.rows('crun', 'containerd');
  assert.deepEqual(
    rows.map(({ name, ratio, n }) => [name, ratio, n]),
    [
      ['ExecSync', 0.25, 1],
      ['pods/s@8', 0.25, 1],
    ],
  );
});

test('the p90 of a rate is its slow end', () => {
  const samples = new Samples();
  for (const rate of [10, 20]) samples.add('pods/s@8', 'crisp', rate);
  assert.deepEqual(samples.rows('runc', 'containerd')[0]?.crisp, { p50: 15, p90: 11 });
});

test('n is that of the side with fewer samples; without a peer there is no ratio', () => {
  const samples = new Samples();
  for (const value of [1, 2, 3]) samples.add('ExecSync', 'crisp', value);
  assert.deepEqual(
    samples.rows('runc', 'containerd').map(({ n, peer, ratio }) => [n, peer, ratio]),
    [[3, null, null]],
  );
  samples.add('ExecSync', 'containerd', 4);
  assert.equal(samples.rows('runc', 'containerd')[0]?.n, 1);
});

test('rows have the order of the table', () => {
  const samples = new Samples();
  for (const name of rowNames.toReversed()) samples.add(name, 'crisp', 1);
  assert.deepEqual(
    samples.rows('runc', 'containerd').map(({ name }) => name),
    rowNames,
  );
});
