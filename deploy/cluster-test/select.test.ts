import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError } from '#core/errors.ts';
import type { Case } from './case.ts';
import { CASES } from './cases/index.ts';
import { select } from './select.ts';

const cases: readonly Case[] = ['pods/start', 'pods/dns', 'pods-more/x', 'exec/stdin'].map((name) => ({
  name,
  about: name,
  run: async () => undefined,
}));
const names = (wanted: readonly string[]): string[] => select(cases, wanted).map(({ name }) => name);

test('an area, a name, both, in the order of the cases and each once', () => {
  assert.deepEqual(names([]), ['pods/start', 'pods/dns', 'pods-more/x', 'exec/stdin']);
  assert.deepEqual(names(['pods']), ['pods/start', 'pods/dns']);
  assert.deepEqual(names(['exec/stdin', 'pods/dns', 'pods']), ['pods/start', 'pods/dns', 'exec/stdin']);
});

test('a name that no case has is refused: a run without cases would pass', () => {
  for (const word of ['pod', 'pods/', 'pods/none', 'stdin', '']) {
    assert.throws(
      () => names(['pods', word]),
      (error) => error instanceof CrispError && error.hint.includes('areas: pods, pods-more, exec'),
      word,
    );
  }
});

test('the names of all cases are unique, also as parts of names of objects', () => {
  assert.ok(CASES.length > 80);
  const slugs = CASES.map(({ name }) => name.replaceAll(/[^a-z0-9]+/g, '-'));
  assert.equal(new Set(slugs).size, CASES.length);
  for (const { name, about } of CASES) {
    assert.match(name, /^[a-z-]+\/[a-z0-9-]+$/);
    assert.ok(name.length <= 40, `${name}: with a suffix it must fit into a host name of 63 bytes`);
    assert.ok(about.length > 4, name);
  }
});

test('cases of one area are beside each other, so that a report is read by areas', () => {
  const areas = CASES.map(({ name }) => name.split('/')[0]);
  const runs = areas.filter((area, index) => area !== areas[index - 1]);
  assert.equal(new Set(runs).size, runs.length, runs.join(', '));
});
