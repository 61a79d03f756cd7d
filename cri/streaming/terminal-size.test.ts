import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { TerminalSizes } from './terminal-size.ts';

test('sizes are found among other bytes, and in chunks of any size', () => {
  const size = fc.record({
    Width: fc.integer({ min: 1, max: 65_535 }),
    Height: fc.integer({ min: 1, max: 65_535 }),
  });
  fc.assert(
    fc.property(fc.array(size, { maxLength: 5 }), fc.array(fc.nat({ max: 200 })), (sizes, cuts) => {
      const seen: (readonly [number, number])[] = [];
      const sizesOf = new TerminalSizes();
      sizesOf.onResize((columns, rows) => seen.push([columns, rows]));
      const text = sizes.map((one) => `${JSON.stringify(one)}\n`).join('');
      const at = [0, ...cuts.filter((cut) => cut < text.length).sort((a, b) => a - b), text.length];
      for (let n = 1; n < at.length; n++) sizesOf.feed(text.slice(at[n - 1], at[n]));
      assert.deepEqual(
        seen,
        sizes.map(({ Width, Height }) => [Width, Height]),
      );
    }),
  );
});

test('zeros and invalid sizes change nothing; a late listener gets the latest size', () => {
  const sizes = new TerminalSizes();
  const invalid = [
    '{"Width":0,"Height":0}',
    '{"Width":1e9,"Height":5}',
    '{}',
    '}',
    'x}',
    '{"Width":"80","Height":24}',
    'null}',
  ];
  sizes.feed('{"Width":80,"Height":24}');
  for (const text of invalid) sizes.feed(text);
  const seen: number[] = [];
  sizes.onResize((columns, rows) => seen.push(columns, rows));
  assert.deepEqual(seen, [80, 24]);
});

test('keys of any case, as Go reads them: the JavaScript client of Kubernetes sends lower case', () => {
  const sizes = new TerminalSizes();
  const seen: number[] = [];
  sizes.onResize((columns, rows) => seen.push(columns, rows));
  sizes.feed('{"height":30,"width":90}{"WIDTH":91,"hEIGHT":31}');
  assert.deepEqual(seen, [90, 30, 91, 31]);
});
