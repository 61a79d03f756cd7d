import assert from 'node:assert/strict';
import test from 'node:test';
import { Metrics } from '#telemetry/metrics.ts';
import { hostLabels, pullMetrics } from './pull-metrics.ts';

test('hosts that are not configured are other, and so are all beyond the bound', () => {
  const labelOf = hostLabels(2);
  assert.equal(labelOf('evil.test', false), 'other');
  assert.deepEqual(
    ['a.test', 'b.test', 'c.test', 'a.test'].map((host) => labelOf(host, true)),
    ['a.test', 'b.test', 'other', 'a.test'],
  );
});

test('what pulls report becomes counters and histograms in seconds', async () => {
  const metrics = new Metrics({ version: '0' });
  const observer = pullMetrics(metrics);
  observer.fetched({ registry: 'docker.io', configured: true, kind: 'mirror' }, 1000);
  observer.fetched({ registry: 'docker.io', configured: true, kind: 'mirror' }, 24);
  observer.fetched({ registry: 'x.test', configured: false, kind: 'registry' }, 1);
  observer.unpacked(30);
  observer.pulled({
    id: 'a',
    ms: 1500,
    code: undefined,
    source: 'mirror',
    layers: { fetched: 2, shared: 3 },
  });
  observer.pulled({ id: 'a', ms: 20, code: 'NotFound', source: 'none', layers: undefined });
  const text = await metrics.text();
  metrics.close();
  for (const line of [
    'crisp_pull_bytes_total{registry="docker.io",endpoint="mirror"} 1024',
    'crisp_pull_bytes_total{registry="other",endpoint="registry"} 1',
    'crisp_pull_seconds_sum{outcome="ok",endpoint="mirror"} 1.5',
    'crisp_pull_seconds_count{outcome="NotFound",endpoint="none"} 1',
    'crisp_pull_layers_total{source="fetched"} 2',
    'crisp_pull_layers_total{source="shared"} 3',
    'crisp_unpack_seconds_sum 0.03',
  ])
    assert.ok(text.includes(`${line}\n`), `${line} is missing`);
});
