import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { age, bytes, parseTimestamp, printable, shortId, timestamp } from './format.ts';
import { renderTable } from './table.ts';

const SECOND = 1_000_000_000n;

test('ages are in words', () => {
  const now = 1_700_000_000n * SECOND;
  const ago = (seconds: bigint) => age(now - seconds * SECOND, now);
  assert.equal(ago(0n), 'just now');
  assert.equal(ago(1n), '1 second ago');
  assert.equal(ago(59n), '59 seconds ago');
  assert.equal(ago(60n), '1 minute ago');
  assert.equal(ago(3n * 60n + 59n), '3 minutes ago');
  assert.equal(ago(7200n), '2 hours ago');
  assert.equal(ago(86_400n * 8n), '1 week ago');
  assert.equal(ago(86_400n * 800n), '2 years ago');
  assert.equal(ago(-120n), 'in 2 minutes');
  assert.equal(age(0n, now), '');
});

test('sizes have three significant digits', () => {
  assert.equal(bytes(0n), '0B');
  assert.equal(bytes(999n), '999B');
  assert.equal(bytes(1_234_567n), '1.23MB');
  assert.equal(bytes(45_600_000_000n), '45.6GB');
});

test('short ids drop the name of the hash', () => {
  assert.equal(shortId(`sha256:${'a'.repeat(64)}`), 'a'.repeat(13));
  assert.equal(shortId('0123456789abcdef'), '0123456789abc');
});

test('timestamps survive to the nanosecond', () => {
  fc.assert(
    fc.property(fc.bigInt({ min: 1n, max: 4_000_000_000n * SECOND }), (time) => {
      assert.equal(parseTimestamp(timestamp(time)), time);
    }),
  );
  assert.equal(timestamp(1_500_000_000_123_456_789n), '2017-07-14T02:40:00.123456789Z');
  assert.equal(timestamp(0n), '0001-01-01T00:00:00Z');
  assert.equal(parseTimestamp('2017-07-14T04:40:00.5+02:00'), 1_500_000_000_500_000_000n);
  assert.equal(parseTimestamp('2017-07-14'), undefined);
  assert.equal(parseTimestamp('2017-13-14T04:40:00Z'), undefined);
});

test('tables are aligned, and control characters of values are escaped', () => {
  const items = [
    { name: 'a', state: 'Running' },
    { name: 'ünïcode\u001b[31m', state: '' },
  ];
  const text = renderTable(
    [
      ['NAME', ({ name }) => name],
      ['STATE', ({ state }) => state],
    ],
    items,
  );
  assert.equal(text, 'NAME               STATE\na                  Running\nünïcode\\x1b[31m\n');
  assert.equal(printable('a\u0007\u009bb'), 'a\\x07\\x9bb');
});
