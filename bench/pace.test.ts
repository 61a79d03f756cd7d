import assert from 'node:assert/strict';
import test from 'node:test';
import { parseOptions } from './options.ts';
import { NIGHTLY, paceOf, roundsOf, type Section } from './pace.ts';

const usual = parseOptions(['--rounds', '6', '--pulls', '30']);
const nightly = parseOptions(['--nightly']);

test('without --nightly a section has its number of rounds, a long one fewer, whatever time they take', () => {
  const counts = (['pods', 'usage', 'full-node', 'idle', 'pulls', 'many-files', 'nri'] as const).map(
    (section) => [...roundsOf(section, usual, () => Date.now() * 1e6)].length,
  );
  assert.deepEqual(counts, [6, 30, 1, 5, 30, 5, 240]);
  assert.deepEqual([...roundsOf('pulls', parseOptions(['--pulls', '0']))], []);
  assert.equal(paceOf('pulls', usual), '30 rounds');
});

test('nightly rounds begin until the minutes of their section have passed', () => {
  let ms = 0;
  const rounds: number[] = [];
  for (const round of roundsOf('idle', nightly, () => ms)) {
    rounds.push(round);
    ms += 60_000;
  }
  assert.deepEqual(rounds, [0, 1, 2]);
  assert.equal(paceOf('idle', nightly), '3 minutes');
});

test('a nightly section whose first round takes longer than all its time has that one', () => {
  let ms = 0;
  let count = 0;
  for (const _ of roundsOf('full-node', nightly, () => ms)) {
    count += 1;
    ms += 3_600_000;
  }
  assert.equal(count, 1);
});

test('the minutes of a night leave some of its forty for what comes before the sections', () => {
  const twice: readonly Section[] = ['pods', 'density', 'usage', 'streaming'];
  const sum = Object.values(NIGHTLY).reduce((total, minutes) => total + minutes, 0);
  const all = sum + twice.reduce((total, section) => total + NIGHTLY[section], 0);
  assert.ok(all > 28 && all < 35, String(all));
});
