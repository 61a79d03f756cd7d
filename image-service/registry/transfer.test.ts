import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { readContentRange } from './transfer.ts';

test('the position and the total of a part', () => {
  assert.deepEqual(readContentRange('bytes 100-199/200'), { start: 100, total: 200 });
  assert.deepEqual(readContentRange('Bytes 0-0/*'), { start: 0, total: undefined });
  for (const wrong of [
    undefined,
    '',
    'bytes */200',
    'bytes 5-4/10',
    'bytes 0-10/10',
    'bytes -1-2/3',
    'items 0-1/2',
  ])
    assert.equal(readContentRange(wrong), undefined, wrong);
});

test('any value is a position within its total, or none', () => {
  const range = fc.tuple(fc.nat(), fc.nat(), fc.oneof(fc.nat(), fc.constant('*')));
  const text = fc.oneof(
    fc.string(),
    range.map(([start, end, total]) => `bytes ${start}-${end}/${total}`),
  );
  fc.assert(
    fc.property(text, (value) => {
      const found = readContentRange(value);
      return found === undefined || found.total === undefined || found.start < found.total;
    }),
  );
});
