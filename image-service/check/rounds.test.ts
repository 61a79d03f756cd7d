import assert from 'node:assert/strict';
import test from 'node:test';
import fc from 'fast-check';
import { dueBetween, placeOf } from './rounds.ts';

const names = fc.uniqueArray(fc.string({ minLength: 1 }), { minLength: 1, maxLength: 20 });

test('every object is due once in each interval, however the passes cut it, and restarts change nothing', () => {
  const interval = fc.integer({ min: 1000, max: 10_000_000 });
  const cuts = fc.array(fc.integer({ min: 0, max: 1_000_000 }), { maxLength: 20 });
  fc.assert(
    fc.property(names, interval, cuts, fc.nat(1_700_000_000_000), (all, length, parts, start) => {
      const objects = all.map((name) => ({ name }));
      const ends = [
        ...parts.map((part) => start + (part / 1_000_000) * length).sort((a, b) => a - b),
        start + length,
      ];
      let from = start;
      const seen: string[] = [];
      for (const to of ends) {
        seen.push(...dueBetween(objects, length, from, to).map(({ name }) => name));
        from = to;
      }
      // At the very border the last bit of a sum may decide.
      const near = all.filter((name) => {
        const at = (((start - placeOf(name) * length) % length) + length) % length;
        return (
          at < 1 ||
          length - at < 1 ||
          ends.some((end) => Math.abs((((end - placeOf(name) * length) % length) + length) % length) < 1)
        );
      });
      assert.deepEqual(
        seen.filter((name) => !near.includes(name)).sort(),
        all.filter((name) => !near.includes(name)).sort(),
      );
    }),
  );
});

test('the places of names are spread over the interval', () => {
  const counts = [0, 0, 0, 0];
  for (let n = 0; n < 4000; n++) {
    const quarter = Math.floor(placeOf(`diff-${n}`) * 4);
    counts[quarter] = (counts[quarter] ?? 0) + 1;
  }
  for (const count of counts) assert.ok(count > 850 && count < 1150, `${counts}`);
});
