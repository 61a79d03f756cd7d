import assert from 'node:assert/strict';
import test from 'node:test';
import { chart } from './chart.ts';
import { type Results, table, verdict } from './results.ts';
import type { Row } from './statistics.ts';

const row = (changes: Partial<Row>): Row => ({
  name: 'RunPodSandbox',
  runtime: 'crun',
  unit: 'ms',
  n: 30,
  crisp: { p50: 30, p90: 40 },
  peer: { p50: 100, p90: 120 },
  ratio: 0.3,
  ...changes,
});
const EXEC = { network: 'exec' } as const;
const NATIVE = { network: 'native' } as const;
const results = (rows: Row[]): Results => ({
  machine: 'a <machine>',
  date: '2026-01-01T00:00:00.000Z',
  versions: {},
  quick: false,
  load: 0,
  network: 'exec',
  rows,
  feel: [],
});

test('the target of a row depends on the network mode', () => {
  assert.deepEqual(verdict(row({}), NATIVE), { target: 0.17, met: false });
  assert.deepEqual(verdict(row({}), EXEC), { target: 0.5, met: true });
});

test('beside the EROFS snapshotter pulls of many files have a target of their own, and the removal has none', () => {
  const erofs = { ...EXEC, snapshotter: 'erofs' } as const;
  const pull = row({ name: 'pull+unpack many files zstd', ratio: 0.6 });
  assert.deepEqual(verdict(pull, EXEC), { target: 0.35, met: false });
  assert.deepEqual(verdict(pull, erofs), { target: 0.7, met: true });
  assert.equal(verdict(row({ name: 'remove image until the space is back' }), erofs), undefined);
});

test('a limit is of crisp alone, in the unit of the row, with any runtime', () => {
  const slow = row({
    name: 'first answer, refused',
    runtime: 'runc',
    crisp: { p50: 1200, p90: 1200 },
    ratio: 0.1,
  });
  assert.deepEqual(verdict(slow, EXEC), { target: 1000, met: false });
  assert.match(table(results([slow]), 'runc'), /≤ 1000\.0 ms MISSED/);
  const growth = row({ name: 'RSS growth@10 pulls', peer: null, ratio: null, crisp: { p50: -1, p90: 2 } });
  assert.deepEqual(verdict(growth, NATIVE), { target: 5, met: true });
});

test('rows of runc, without a peer or without a target have no verdict', () => {
  assert.equal(verdict(row({ runtime: 'runc' }), EXEC), undefined);
  assert.equal(verdict(row({ ratio: null, peer: null }), EXEC), undefined);
  assert.equal(verdict(row({ name: 'RemoveContainer' }), EXEC), undefined);
});

test('the table has the rows of one runtime, and marks missed targets', () => {
  const text = table(
    results([row({}), row({ name: 'ExecSync', ratio: 0.6 }), row({ runtime: 'runc' })]),
    'crun',
  );
  const lines = text.split('\n');
  assert.equal(lines.length, 4);
  assert.match(lines[2] ?? '', /RunPodSandbox .* 0\.30 .*≤ 0\.50 met/);
  assert.match(lines[3] ?? '', /ExecSync .*≤ 0\.40 MISSED/);
});

test('the chart has each row with a peer, and escapes markup', () => {
  const svg = chart(results([row({}), row({ name: 'ExecSync', peer: null, ratio: null })]));
  assert.match(svg, /RunPodSandbox crun/);
  assert.doesNotMatch(svg, /ExecSync|<machine>/);
});
