import assert from 'node:assert/strict';
import test from 'node:test';
import { Backlog, heldBytes } from './backlog.ts';

test('what an event holds grows with its texts, keys and values', () => {
  const long = 'x'.repeat(1000);
  assert.ok(heldBytes({ process: { env: [long, long] } }) >= 2000);
  assert.ok(heldBytes({ [long]: 1 }) >= 1000);
  assert.ok(heldBytes(new Uint8Array(1000)) >= 1000);
  assert.ok(heldBytes(Array.from({ length: 1000 }, (_, at) => BigInt(at))) >= 8000);
  assert.ok(heldBytes({ a: undefined, b: null, c: true }) < 200);
});

test('a backlog is too large by its events or by its bytes, until a plugin is dropped; then again when it has sunk', () => {
  for (const [bytes, count] of [
    [100, 1000],
    [10 * 2 ** 20, 6],
  ] as const) {
    const backlog = new Backlog();
    const ends = Array.from({ length: count }, () => backlog.add(bytes));
    assert.equal(backlog.isTooLarge, false);
    ends.push(backlog.add(bytes));
    assert.equal(backlog.isTooLarge, true);
    backlog.relieved();
    ends.push(backlog.add(bytes));
    assert.equal(backlog.isTooLarge, false);
    for (const end of ends) end();
    for (let at = 0; at <= count; at++) backlog.add(bytes);
    assert.equal(backlog.isTooLarge, true);
  }
});
