import assert from 'node:assert/strict';
import test from 'node:test';
import { withTag } from './cases/images.ts';
import { hasSeries } from './cases/stats.ts';
import { jobManifest, type Placement, podManifest } from './manifest.ts';

const placement: Placement = { namespace: 'ns', node: 'node-1', image: 'busybox:1', caseName: 'pods/start' };

test('a pod is on its node, past its taints, and has the label of its case', () => {
  const { metadata, spec } = podManifest('a', {}, placement);
  assert.deepEqual(
    [metadata?.name, metadata?.namespace, metadata?.labels?.['crisp-cluster-test/case']],
    ['a', 'ns', 'pods-start'],
  );
  const [term] =
    spec?.affinity?.nodeAffinity?.requiredDuringSchedulingIgnoredDuringExecution?.nodeSelectorTerms ?? [];
  assert.deepEqual(term?.matchFields, [{ key: 'metadata.name', operator: 'In', values: ['node-1'] }]);
  assert.deepEqual(spec?.tolerations, [{ operator: 'Exists' }]);
  assert.equal(spec?.nodeName, undefined, 'the scheduler counts host ports');
});

test('a script is run by sh, a command or arguments are left alone, the image may be another', () => {
  const { spec } = podManifest(
    'a',
    {
      containers: [
        { script: 'exit 3' },
        { name: 'b', command: ['true'] },
        { name: 'c', args: ['x'], image: 'other:2' },
      ],
      initContainers: [{ name: 'i', script: 'true' }],
      labels: { x: 'y' },
    },
    placement,
  );
  assert.deepEqual(spec?.containers, [
    { name: 'main', image: 'busybox:1', command: ['sh', '-c', 'exit 3'] },
    { name: 'b', image: 'busybox:1', command: ['true'] },
    { name: 'c', image: 'other:2', args: ['x'] },
  ]);
  assert.deepEqual(spec?.initContainers?.[0]?.command, ['sh', '-c', 'true']);
  assert.ok(!('labels' in (spec ?? {})));
});

test('the pods of a job have the label, too: they are deleted with it', () => {
  const { spec } = jobManifest('j', { completions: 2 }, {}, placement);
  assert.equal(spec?.template.metadata?.labels?.['crisp-cluster-test/case'], 'pods-start');
  assert.equal(spec?.completions, 2);
});

test('another tag of the same repository', () => {
  const tags = {
    busybox: 'busybox:x',
    'docker.io/library/busybox:1.36': 'docker.io/library/busybox:x',
    'registry:5000/busybox': 'registry:5000/busybox:x',
    'registry:5000/a/busybox:1@sha256:abc': 'registry:5000/a/busybox:x',
    'registry:5000/busybox@sha256:abc': 'registry:5000/busybox:x',
  };
  for (const [image, expected] of Object.entries(tags)) assert.equal(withTag(image, 'x'), expected);
});

test('a series by its labels, in any order, and no part of a name', () => {
  const text = [
    '# TYPE container_cpu_usage_seconds_total counter',
    'container_cpu_usage_seconds_total{container="main",cpu="total",namespace="ns",pod="a"} 1.5 1700000000000',
    'container_cpu_usage_seconds_total_more{container="other",namespace="ns",pod="a"} 1',
  ].join('\n');
  const metric = 'container_cpu_usage_seconds_total';
  assert.ok(hasSeries(text, metric, { namespace: 'ns', pod: 'a', container: 'main' }));
  assert.ok(!hasSeries(text, metric, { namespace: 'ns', pod: 'a', container: 'other' }));
  assert.ok(!hasSeries(text, metric, { space: 'ns' }));
  assert.ok(!hasSeries(text, metric, { pod: '' }));
});
