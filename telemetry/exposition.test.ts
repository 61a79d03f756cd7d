import assert from 'node:assert/strict';
import test from 'node:test';
import { formFor } from './exposition.ts';
import { Metrics } from './metrics.ts';
import { listenMetrics } from './metrics-listener.ts';

/** As Prometheus 2.42 and 3 send it. */
const PROMETHEUS_2 =
  'application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1';
const PROMETHEUS_3 =
  'application/openmetrics-text;version=1.0.0;escaping=allow-utf-8;q=0.5,application/openmetrics-text;version=0.0.1;q=0.4,text/plain;version=1.0.0;escaping=allow-utf-8;q=0.3,text/plain;version=0.0.4;q=0.2,*/*;q=0.1';

test('OpenMetrics is for who names it, the classic form for all others', () => {
  for (const [accept, form] of [
    [undefined, 'text'],
    ['', 'text'],
    ['*/*', 'text'],
    ['text/plain', 'text'],
    ['text/html, */*;q=0.8', 'text'],
    [PROMETHEUS_2, 'openmetrics'],
    [PROMETHEUS_3, 'openmetrics'],
    ['Application/OpenMetrics-Text; Version="1.0.0" ; charset=utf-8', 'openmetrics'],
    ['application/openmetrics-text', 'openmetrics'],
    ['application/openmetrics-text;version=0.0.1', 'text'],
    ['application/openmetrics-text;version=2.0.0', 'text'],
    ['application/openmetrics-text;q=0', 'text'],
    ['application/openmetrics-text;q=none', 'text'],
    ['application/openmetrics-text;q=0.3, text/plain;version=0.0.4;q=0.5', 'text'],
    [',;=,;;q', 'text'],
  ] as const)
    assert.equal(formFor(accept), form, accept);
});

test('series have the id of their last operation as exemplar, in OpenMetrics alone', async () => {
  const metrics = new Metrics({ version: '1' });
  metrics.operation({ name: 'RunPodSandbox', id: 'aaaaaaaaaaaa' }, 30);
  metrics.operation({ name: 'RunPodSandbox', id: 'bbbbbbbbbbbb' }, 40, 'NetworkFailed');
  metrics.operation({ name: 'RunPodSandbox', id: 'cccccccccccc' }, 300_000);
  metrics.stage({ name: 'RunPodSandbox', id: 'bbbbbbbbbbbb' }, { name: 'cni', started: 0, ended: 20 });
  const pulled = metrics.counter({ name: 'crisp_pulled_total', help: 'x', labels: ['by'] });
  pulled({ by: 'me' }, 5, { id: 'dddddddddddd' });
  pulled({ by: 'me' }, 2);
  metrics.gauge({ name: 'crisp_x', help: 'x', labels: [], collect: () => [{ labels: {}, value: 3 }] });
  const before = await metrics.text();
  const [open] = await Promise.all([metrics.text('openmetrics'), metrics.text('openmetrics')]);
  const exemplar = (line: string): string => line.replaceAll(/ \d+(\.\d+)?$/gm, '');
  const lines = open.split('\n').map((line) => (line.includes(' # {') ? exemplar(line) : line));
  for (const line of [
    '# TYPE crisp_operations counter',
    'crisp_operations_total{operation="RunPodSandbox"} 3 # {operation_id="cccccccccccc"} 1',
    'crisp_operations_errors_total{operation="RunPodSandbox",code="NetworkFailed"} 1 # {operation_id="bbbbbbbbbbbb"} 1',
    'crisp_operation_seconds_bucket{le="0.05",operation="RunPodSandbox"} 2 # {operation_id="bbbbbbbbbbbb"} 0.04',
    'crisp_operation_seconds_bucket{le="+Inf",operation="RunPodSandbox"} 3 # {operation_id="cccccccccccc"} 300',
    'crisp_operation_seconds_count{operation="RunPodSandbox"} 3',
    'crisp_stage_seconds_bucket{le="0.025",operation="RunPodSandbox",stage="cni"} 1 # {operation_id="bbbbbbbbbbbb"} 0.02',
    'crisp_pulled_total{by="me"} 7 # {operation_id="dddddddddddd"} 5',
    'crisp_x 3',
  ])
    assert.ok(lines.includes(line), `${line} is missing`);
  assert.ok(open.endsWith('\n# EOF\n'));
  assert.ok(!open.includes('\n\n'));
  const after = await metrics.text();
  metrics.close();
  assert.doesNotMatch(after, /operation_id/);
  const names = (text: string) => text.split('\n').map((line) => line.replace(/ [^ ]*$/, ''));
  assert.deepEqual(names(after), names(before));
  assert.ok(after.includes('\ncrisp_operations_total{operation="RunPodSandbox"} 3\n'));
});

test('the listener answers by the Accept header', async () => {
  const metrics = new Metrics({ version: '1' });
  metrics.operation({ name: 'Version', id: 'aaaaaaaaaaaa' }, 1);
  await using listener = await listenMetrics({ address: '127.0.0.1:0', metrics, health: {} });
  const get = async (accept: string): Promise<[string | null, string]> => {
    const response = await fetch(`http://${listener.address}/metrics`, { headers: { accept } });
    return [response.headers.get('content-type'), await response.text()];
  };
  const [openType, open] = await get(PROMETHEUS_2);
  assert.equal(openType, 'application/openmetrics-text; version=1.0.0; charset=utf-8');
  assert.match(
    open,
    /\ncrisp_operations_total\{operation="Version"\} 1 # \{operation_id="aaaaaaaaaaaa"\} 1 \d/,
  );
  const [type, text] = await get('*/*');
  assert.equal(type, 'text/plain; version=0.0.4; charset=utf-8');
  assert.match(text, /\ncrisp_operations_total\{operation="Version"\} 1\n/);
  metrics.close();
});
