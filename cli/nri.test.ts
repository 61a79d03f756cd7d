import assert from 'node:assert/strict';
import test from 'node:test';
import type { NriPlugin } from '#api/admin/nri.ts';
import { nriText } from './nri.ts';

const plugin: NriPlugin = {
  index: '10',
  name: 'policy',
  kind: 'launched',
  pid: 42,
  state: 'active',
  nriVersion: 'v0.12.2',
  events: ['CreateContainer', 'StopContainer'],
  since: '2026-12-01T00:00:00.000Z',
  calls: [
    { call: 'Synchronize', count: 1, failed: 0, medianMs: 900, maxMs: 900, lastMs: 900 },
    { call: 'CreateContainer', count: 12, failed: 2, medianMs: 1.25, maxMs: 31, lastMs: 2 },
    { call: 'StopContainer', count: 3, failed: 0, medianMs: 5, maxMs: 6, lastMs: 6 },
  ],
  waiting: 1,
  lastError: { at: '2026-12-01T00:01:00.000Z', message: 'CreateContainer: no device\nleft' },
};

test('a line for each plugin: its calls, how long events take, and the last error', () => {
  const gone: NriPlugin = {
    ...plugin,
    index: '20',
    name: 'gone',
    state: 'ended',
    events: [],
    calls: [],
    dropped: 'deadline',
  };
  const [place, , head = '', line = '', other = ''] = nriText({
    enabled: true,
    socket: '/run/nri.sock',
    plugins: [plugin, gone],
  }).split('\n');
  assert.equal(place, 'Plugins connect to /run/nri.sock.');
  assert.match(
    head,
    /^INDEX +NAME +KIND +PID +STATE +CALLS +FAILED +MEDIAN\/MAX +WAITING +EVENTS +LAST ERROR$/,
  );
  assert.match(
    line,
    /^10 +policy +launched +42 +active +16 +2 +1\.3\/31 ms +1 +CreateContainer,StopContainer +2026/,
  );
  assert.ok(!line.includes('\n') && line.includes('no device'));
  assert.match(other, /^20 +gone .* dropped \(deadline\) +0 +0 +- /);
});

test('without plugins it says where they would connect, or that NRI is off', () => {
  assert.equal(nriText({ enabled: false, plugins: [] }), 'NRI is off (nri.enabled).\n');
  assert.match(nriText({ enabled: true, socket: '/s', plugins: [] }), /connect to \/s\. There is none/);
  assert.match(nriText({ enabled: true, plugins: [] }), /cannot connect/);
});
