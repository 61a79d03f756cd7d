import assert from 'node:assert/strict';
import test from 'node:test';
import { Tokens } from './tokens.ts';

test('a token opens its session once', () => {
  const tokens = new Tokens<string>();
  const token = tokens.issue('one');
  assert.match(token, /^[\w-]{22}$/);
  assert.equal(tokens.redeem(token), 'one');
  assert.equal(tokens.redeem(token), undefined);
  assert.equal(tokens.redeem(''), undefined);
});

test('it expires after a minute, and frees its slot', () => {
  let now = 0;
  const tokens = new Tokens<number>(() => now);
  const first = tokens.issue(0);
  for (let n = 1; n < 1000; n++) tokens.issue(n);
  assert.throws(() => tokens.issue(1000), { code: 'ResourceExhausted' });
  now = 59_999;
  assert.throws(() => tokens.issue(1000), { code: 'ResourceExhausted' });
  now = 60_000;
  assert.equal(tokens.redeem(first), undefined);
  assert.equal(tokens.redeem(tokens.issue(1000)), 1000);
});
