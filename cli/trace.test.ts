import assert from 'node:assert/strict';
import test from 'node:test';
import { parseTraces } from './trace.ts';
import { type Step, waterfallSvg, waterfallText, withGaps } from './waterfall.ts';

const stage = (name: string, from: number, to: number) => ({ name, detail: '', from, to, failed: false });
const step = (ms: number, ...stages: ReturnType<typeof stage>[]): Step => ({
  title: 'RunPodSandbox',
  ms,
  failed: false,
  stages,
});

test('more than a millisecond without a stage is shown as a gap', () => {
  const gaps = (of: Step) =>
    withGaps(of)
      .filter(({ name }) => name === '(no stage)')
      .map(({ from, to }) => [from, to]);
  assert.deepEqual(gaps(step(10, stage('a', 0, 4), stage('b', 4.9, 10))), []);
  assert.deepEqual(gaps(step(10, stage('b', 6, 7), stage('a', 2, 4))), [
    [0, 2],
    [4, 6],
    [7, 10],
  ]);
  assert.deepEqual(gaps(step(10, stage('outer', 0, 9.5), stage('inner', 1, 2))), []);
});

test('each stage is a line with its start, its duration and a bar', () => {
  const lines = waterfallText([step(20, stage('record', 0, 10), stage('network', 10, 20))]).split('\n');
  assert.match(lines[1] ?? '', /record +0\.0 +10\.0 {2}█{22}$/);
  assert.match(lines[2] ?? '', /network +10\.0 +10\.0 +█{22}$/);
});

test('control characters and markup in names are escaped', () => {
  const hostile = { ...step(5, stage('a\u001b[2J', 0, 5)), title: '<script>\n' };
  const text = waterfallText([hostile]);
  assert.ok(text.startsWith('<script>?  5.0 ms\n') && !text.includes('\u001b'));
  assert.doesNotMatch(waterfallSvg('<b>', [hostile]), /<script>|<b>/);
});

test('a response without traces, or of another format, is refused', () => {
  const good = [{ name: 'RunPodSandbox', containerId: '', ms: 1, failed: false, stages: [stage('a', 0, 1)] }];
  assert.equal(parseTraces(JSON.stringify(good)).length, 1);
  for (const text of [
    undefined,
    '',
    '{}',
    '[1]',
    '[{"name":"x"}]',
    '[{"name":"x","containerId":"","ms":1,"failed":false,"stages":[null]}]',
  ])
    assert.throws(() => parseTraces(text), /returned no trace/);
});
