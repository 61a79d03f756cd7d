import assert from 'node:assert/strict';
import test from 'node:test';
import type { Verdict } from '../case.ts';
import type { Facts } from '../cluster/facts.ts';
import { exitCodeOf, type Ran, reportOf } from './report.ts';
import { headLine, markdown, totalsLine, verdictLines } from './text.ts';

const facts: Facts = {
  server: 'v1.36.2',
  node: {
    name: 'node-1',
    kubelet: 'v1.36.2',
    runtime: 'crisp://0.1.0',
    kernel: '6.1.0',
    os: 'Debian GNU/Linux 12',
    arch: 'amd64',
    addresses: ['192.0.2.1'],
    handlers: [
      { name: '', features: ['userNamespaces'] },
      { name: 'crun', features: [] },
    ],
    features: [],
  },
  runtimeClasses: [],
  kubeletConfig: undefined,
};

const passed: Verdict = { name: 'pods/start', about: 'a pod starts', outcome: 'passed', milliseconds: 1234 };
const skipped: Verdict = {
  name: 'resize/cpu',
  about: 'resize',
  outcome: 'skipped',
  milliseconds: 0,
  reason: 'the API server is 1.30: no in-place resize',
};
const failed: Verdict = {
  name: 'exec/stdin',
  about: 'input arrives',
  outcome: 'failed',
  milliseconds: 60_000,
  reason: 'first line\nsecond | line with ``` and <b>',
  events: ['Warning BackOff pod/x: message'],
};

const ran = (verdicts: readonly Verdict[], more: Partial<Ran> = {}): Ran => ({
  started: new Date('2026-01-02T03:04:05Z'),
  ended: new Date('2026-01-02T03:05:07Z'),
  facts,
  image: 'registry.example/busybox:1',
  namespace: 'crisp-cluster-test-abc',
  interrupted: false,
  verdicts,
  leftover: undefined,
  ...more,
});

test('the report has node, versions, totals, the time and the cases as they were', () => {
  const report = reportOf(ran([passed, failed, skipped]));
  assert.deepEqual(report.totals, { passed: 1, failed: 1, skipped: 1 });
  assert.equal(report.seconds, 62);
  assert.deepEqual(
    [report.version, report.server, report.node.runtime, report.started],
    [1, 'v1.36.2', 'crisp://0.1.0', '2026-01-02T03:04:05.000Z'],
  );
  assert.deepEqual(JSON.parse(JSON.stringify(report)).cases, [passed, failed, skipped]);
  assert.ok(!('leftover' in report));
  assert.equal(totalsLine(report), '1 passed, 1 failed, 1 skipped');
  assert.match(
    headLine(report),
    /^node node-1: crisp:\/\/0\.1\.0, kubelet v1\.36\.2, .*API server v1\.36\.2$/,
  );
});

test('the exit code is 0 only where nothing failed and nothing remains', () => {
  assert.equal(exitCodeOf(reportOf(ran([passed, skipped]))), 0);
  assert.equal(exitCodeOf(reportOf(ran([passed, failed]))), 1);
  assert.equal(exitCodeOf(reportOf(ran([passed], { leftover: 'the namespace is there' }))), 1);
  assert.equal(exitCodeOf(reportOf(ran([passed, failed], { interrupted: true }))), 130);
});

test('lines of a case: a failure with reason and events below it', () => {
  assert.deepEqual(verdictLines(passed), ['passed   pods/start  1.2 s']);
  assert.deepEqual(verdictLines(skipped), [
    'skipped  resize/cpu: the API server is 1.30: no in-place resize',
  ]);
  assert.deepEqual(verdictLines(failed), [
    'FAILED   exec/stdin  60.0 s',
    '         first line',
    '         second | line with ``` and <b>',
    '         | Warning BackOff pod/x: message',
  ]);
});

test('Markdown: nothing that a node or a registry says ends a cell or a block', () => {
  const text = markdown(reportOf(ran([passed, failed, skipped], { leftover: 'x|y' })));
  const lines = text.split('\n');
  assert.equal(lines[0], '# Cluster test: 1 passed, 1 failed, 1 skipped');
  assert.ok(lines.includes('| runtime | crisp://0.1.0 |'));
  assert.ok(lines.includes('| handlers | default (userNamespaces); crun (no features) |'));
  assert.ok(lines.includes('| **left behind** | x\\|y |'));
  assert.ok(lines.includes('| pods/start | passed | 1.2 s | a pod starts |'));
  assert.ok(
    lines.includes(
      '| exec/stdin | **failed** | 60.0 s | first line second \\| line with \\`\\`\\` and \\<b\\> |',
    ),
  );
  const from = lines.indexOf('````'); // longer than the run of backquotes in the reason
  assert.deepEqual(lines.slice(from, from + 5), [
    '````',
    'first line',
    'second | line with ``` and <b>',
    '| Warning BackOff pod/x: message',
    '````',
  ]);
});

test('Markdown without failures has no such heading', () => {
  assert.doesNotMatch(markdown(reportOf(ran([passed]))), /Failures|left behind/);
});
