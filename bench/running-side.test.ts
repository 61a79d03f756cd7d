import assert from 'node:assert/strict';
import test from 'node:test';
import { isMonitorOf, isReady } from './running-side.ts';

const condition = (type: string, status: boolean) => ({ type, status });
const ready = [condition('RuntimeReady', true), condition('NetworkReady', true)];

test('a server is ready with its runtime and network, whatever other conditions it reports', () => {
  assert.ok(isReady(ready));
  assert.ok(isReady([...ready, condition('ContainerdHasNoDeprecationWarnings', false)]));
  assert.ok(!isReady([condition('RuntimeReady', true), condition('NetworkReady', false)]));
  assert.ok(!isReady([condition('RuntimeReady', true)]));
  assert.ok(!isReady());
});

test('a monitor is of the side whose state directory its arguments name: both may use conmon', () => {
  const cmdline = ['/usr/bin/conmon', '-c', 'abc', '--exit-dir', '/run/idle-crio/exits', ''].join('\0');
  assert.ok(isMonitorOf('/run/idle-crio', cmdline));
  assert.ok(!isMonitorOf('/run/crio', cmdline));
  assert.ok(!isMonitorOf('/run/idle', cmdline));
  assert.ok(!isMonitorOf('/run/idle-crio', ''));
});
