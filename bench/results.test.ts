import assert from 'node:assert/strict';
import test from 'node:test';
import { chart } from './chart.ts';
import { type PastRun, pastRun } from './history.ts';
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
  const svg = chart(results([row({}), row({ name: 'ExecSync', peer: null, ratio: null })]), []);
  assert.match(svg, /RunPodSandbox crun/);
  assert.doesNotMatch(svg, /ExecSync|<machine>/);
});

test('the peer is named in the table and the chart; results without one are of containerd', () => {
  const old = results([row({})]);
  const beside = { ...old, peer: 'crio' as const };
  assert.match(table(old, 'crun'), /\| containerd p50/);
  assert.match(table(beside, 'crun'), /\| CRI-O p50/);
  assert.match(chart(old, []), /crisp : containerd, /);
  assert.match(chart(beside, []), /crisp : CRI-O, /);
});

test('the chart shows the ratios of earlier runs of the same network and peer, the older the paler', () => {
  const at = (day: number, changes: Partial<Results>, ratio = day / 10): PastRun =>
    pastRun({ ...results([row({ ratio })]), date: `2026-01-0${day}T00:00:00.000Z`, ...changes });
  const history = [
    at(1, {}),
    at(2, { network: 'native' }),
    at(3, { peer: 'crio' }),
    at(4, { quick: true }),
    at(5, { peer: 'containerd' }),
    at(7, {}), // this one
    at(8, {}), // a later one
  ];
  const svg = chart({ ...results([row({})]), date: '2026-01-07T00:00:00.000Z' }, history);
  const circles = [...svg.matchAll(/<circle .*?opacity="(.*?)"><title>(.*?)</g)].map(([, ...found]) => found);
  assert.deepEqual(circles, [
    ['0.92', '0.10, 2 before'],
    ['1.00', '0.50, 1 before'],
  ]);
  assert.match(svg, /circles: the 2 runs before/);
  assert.doesNotMatch(chart(results([row({})]), history), /circle/);
});

test('of many earlier runs the newest are drawn', () => {
  const history = Array.from({ length: 30 }, (_, at) =>
    pastRun({ ...results([row({ ratio: 1 + at / 100 })]), date: `2025-01-${10 + at}` }),
  );
  const titles = [...chart(results([row({})]), history).matchAll(/<title>(1\..*?),/g)].map(
    ([, text]) => text,
  );
  assert.deepEqual([titles.length, titles[0], titles.at(-1)], [12, '1.18', '1.29']);
});
