import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { RegistryFailure } from './failure.ts';
import { readTokenReply } from './token-reply.ts';

const now = Date.parse('2026-01-01T00:00:00Z');
const read = (reply: unknown) => {
  const { token, lifeMs } = readTokenReply(Buffer.from(JSON.stringify(reply)), 'token', now);
  return [token, lifeMs / 1000];
};

test('tokens in all forms', () => {
  assert.deepEqual(read({ token: 't' }), ['t', 55]);
  assert.deepEqual(read({ access_token: 't', expires_in: 300 }), ['t', 295]);
  assert.deepEqual(read({ token: 't', access_token: 'u', expires_in: '300' }), ['t', 295]);
  assert.deepEqual(read({ token: '', access_token: 'u', expires_in: null }), ['u', 55]);
  assert.deepEqual(read({ token: null, access_token: 'u', expires_in: 1 }), ['u', 55], 'at least a minute');
  assert.deepEqual(read({ token: 't', expires_in: 1e300 }), ['t', 24 * 3600 - 5]);
  assert.deepEqual(read({ token: 't', expires_in: 300, issued_at: '2025-12-31T23:59:00Z' }), ['t', 235]);
  assert.deepEqual(read({ token: 't', expires_in: 300, issued_at: '2020-01-01T00:00:00Z' }), ['t', 55]);
  assert.deepEqual(read({ token: 't', expires_in: 300, issued_at: 'yesterday' }), ['t', 295]);
});

test('what is not a token is refused without repeating it', () => {
  for (const reply of [
    null,
    [],
    {},
    { token: 7 },
    { token: 'hunter2\r\nx: y' },
    { token: 'hunter2 ü' },
    { token: '', access_token: '' },
    { token: 'hunter2'.repeat(10_000) },
  ])
    assert.throws(
      () => read(reply),
      (error) => error instanceof RegistryFailure && !error.message.includes('hunter2'),
    );
});

test('any reply is a token with a bounded life, or refused', () => {
  const reply = fc.record(
    {
      token: fc.jsonValue(),
      access_token: fc.jsonValue(),
      expires_in: fc.jsonValue(),
      issued_at: fc.jsonValue(),
    },
    { requiredKeys: [] },
  );
  fc.assert(
    fc.property(
      fc.oneof(
        fc.string(),
        reply.map((one) => JSON.stringify(one)),
      ),
      (text) => {
        try {
          const { token, lifeMs } = readTokenReply(Buffer.from(text), 'token');
          return /^[\x21-\x7e]+$/.test(token) && lifeMs > 0 && lifeMs <= 24 * 3_600_000;
        } catch (error) {
          return error instanceof RegistryFailure;
        }
      },
    ),
  );
});
