import assert from 'node:assert/strict';
import test from 'node:test';
import { Rates } from './rate.ts';

const S = 1_000_000_000n;

test('the first sample has no rate, the second the mean since the first', () => {
  const rates = new Rates<string>();
  assert.equal(rates.sample('a', 5n * S, 10n * S), undefined);
  assert.equal(rates.sample('a', 6n * S, 14n * S), S / 4n);
  assert.equal(rates.sample('b', 0n, 14n * S), undefined);
});

test('samples that come too soon get the rate before them and do not shorten the span', () => {
  const rates = new Rates<string>(1000);
  rates.sample('a', 0n, 0n);
  assert.equal(rates.sample('a', S, S / 2n), undefined);
  assert.equal(rates.sample('a', S, S), S);
  assert.equal(rates.sample('a', 9n * S, S + 1n), S);
  assert.equal(rates.sample('a', 9n * S, 3n * S), 4n * S);
});

test('a counter that went back, a clock that did, and a forgotten key begin anew', () => {
  const rates = new Rates<string>();
  rates.sample('a', 10n * S, 0n);
  assert.equal(rates.sample('a', S, S), undefined);
  assert.equal(rates.sample('a', 2n * S, 2n * S), S);
  rates.forget('a');
  assert.equal(rates.sample('a', 3n * S, 4n * S), undefined);
});
