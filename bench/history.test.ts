import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import test from 'node:test';
import { historyText, MAX_RUNS, type PastRun, pastRun, ratiosOf, withRun } from './history.ts';
import { chartsOf, nameOf, readHistory, writeResults } from './result-files.ts';
import type { Results } from './results.ts';

const results = (date: string, changes: Partial<Results> = {}): Results => ({
  machine: 'a machine',
  date,
  versions: { crisp: '1', containerd: '2' },
  quick: false,
  load: 0,
  network: 'exec',
  rows: [
    {
      name: 'ExecSync',
      runtime: 'crun',
      unit: 'ms',
      n: 30,
      crisp: { p50: 10, p90: 11 },
      peer: { p50: 20, p90: 21 },
      ratio: 0.5,
    },
    {
      name: 'Version',
      runtime: 'crun',
      unit: 'ms',
      n: 30,
      crisp: { p50: 1, p90: 2 },
      peer: null,
      ratio: null,
    },
  ],
  feel: [],
  ...changes,
});
const dates = (runs: readonly PastRun[]): string[] => runs.map(({ date }) => date);

test('of a run the medians and ratios are kept, and results without a peer are of containerd', () => {
  const { peer, rows, versions } = pastRun(results('1'));
  assert.deepEqual([peer, versions], ['containerd', { crisp: '1', containerd: '2' }]);
  assert.deepEqual(rows, [
    { name: 'ExecSync', runtime: 'crun', crisp: 10, peer: 20, ratio: 0.5 },
    { name: 'Version', runtime: 'crun', crisp: 1, peer: null, ratio: null },
  ]);
});

test('runs are in the order of their dates, and one that is written again is there once', () => {
  let runs: PastRun[] = [];
  for (const date of ['3', '1', '2', '1']) runs = withRun(runs, pastRun(results(date)));
  assert.deepEqual(dates(runs), ['1', '2', '3']);
});

test('the newest of each network and peer are kept', () => {
  let runs = withRun([], pastRun(results('0000', { network: 'native' })));
  runs = withRun(runs, pastRun(results('0001', { peer: 'crio' })));
  for (let at = 0; at < MAX_RUNS + 5; at += 1) runs = withRun(runs, pastRun(results(String(1000 + at))));
  assert.deepEqual(dates(runs).slice(0, 3), ['0000', '0001', '1005']);
  assert.equal(runs.length, MAX_RUNS + 2);
});

test('the ratios of a row are those of its OCI runtime, without runs that lack it', () => {
  const runs = [pastRun(results('1')), pastRun(results('2', { rows: [] }))];
  assert.deepEqual(ratiosOf(runs, { name: 'ExecSync', runtime: 'crun' }), [0.5]);
  assert.deepEqual(ratiosOf(runs, { name: 'ExecSync', runtime: 'runc' }), []);
  assert.deepEqual(ratiosOf(runs, { name: 'Version', runtime: 'crun' }), []);
});

test('the text of the history reads as it was, a line for each row', () => {
  const runs = [pastRun(results('1')), pastRun(results('2', { rows: [] }))];
  assert.deepEqual(JSON.parse(historyText(runs)), runs);
  assert.equal(
    historyText(runs)
      .split('\n')
      .filter((line) => line.startsWith('  ')).length,
    2,
  );
});

test('each network and peer has files of its own, and the history has every run', (t) => {
  const directory = mkdtempSync(join(tmpdir(), 'crisp-history-'));
  t.after(() => rmSync(directory, { recursive: true }));
  const names = [
    nameOf({ network: 'exec' }),
    nameOf({ network: 'native', peer: 'containerd' }),
    nameOf({ network: 'exec', peer: 'crio' }),
    nameOf({ network: 'native', peer: 'crio' }),
  ];
  assert.deepEqual(names, ['latest', 'latest-native', 'latest-crio', 'latest-crio-native']);
  writeResults(directory, results('1'));
  const file = writeResults(directory, results('2', { peer: 'crio' }));
  assert.equal(basename(file), 'latest-crio.json');
  assert.equal((JSON.parse(readFileSync(file, 'utf8')) as Results).peer, 'crio');
  writeResults(directory, results('3'));
  assert.deepEqual(dates(readHistory(directory)), ['1', '2', '3']);
  assert.match(readFileSync(join(directory, 'latest.svg'), 'utf8'), /circles: the run before/);
});

test('the committed charts are those of the committed results, which the history has', () => {
  const directory = join(import.meta.dirname, 'results');
  const known = dates(readHistory(directory));
  const charts = chartsOf(directory);
  assert.ok(charts.length > 0);
  for (const [path, svg] of charts) {
    assert.equal(readFileSync(path, 'utf8'), svg, `${path}: run node bench/result-files.ts`);
    const { date } = JSON.parse(readFileSync(path.replace(/svg$/, 'json'), 'utf8')) as Results;
    assert.ok(known.includes(date), `${path}: the history lacks its run`);
  }
});
