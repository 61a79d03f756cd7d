import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { freePair, pairOf } from './category-pairs.ts';

test('every pair is given once, then there is none', () => {
  const taken = new Set<string>();
  for (let n = 0; n < 10; n++) taken.add(freePair(5, taken));
  assert.deepEqual([...taken].sort(), [
    'c0,c1',
    'c0,c2',
    'c0,c3',
    'c0,c4',
    'c1,c2',
    'c1,c3',
    'c1,c4',
    'c2,c3',
    'c2,c4',
    'c3,c4',
  ]);
  assert.throws(
    () => freePair(5, taken),
    (error) => hasCode(error, 'ResourceExhausted') && /all 10 pairs .* c0 to c4/.test(error.message),
  );
});

test('pairs are of the whole range, the lower category first', () => {
  const found = Array.from({ length: 2000 }, () => freePair(1024, new Set()));
  for (const pair of found) {
    const [, first, second] = (/^c(\d+),c(\d+)$/.exec(pair) ?? []).map(Number);
    assert.ok(first !== undefined && second !== undefined && first < second && second < 1024, pair);
  }
  assert.ok(new Set(found).size > 1900);
  assert.ok(found.some((pair) => Number(pair.split(',c')[1]) > 900));
});

test('a level is a pair however it is written', () => {
  assert.deepEqual(['s0:c2,c1', 's0:c1.c2', 's0:c1,c2'].map(pairOf), ['c1,c2', 'c1,c2', 'c1,c2']);
  for (const level of ['', 's0', 's0:c1', 's0:c1.c3', 's0-s0:c1,c2'])
    assert.equal(pairOf(level), undefined, level);
});
