import assert from 'node:assert/strict';
import test from 'node:test';
import { EndpointHealth, type FailedEndpoints } from './endpoint-health.ts';

const [a, b, c] = ['a', 'b', 'c'].map((base) => ({ base })) as [
  { base: string },
  { base: string },
  { base: string },
];

test('an endpoint that failed is asked last for a while', () => {
  let now = 1000;
  const health = new EndpointHealth({ now: () => now });
  health.failed(a, 'blobs');
  assert.deepEqual(health.order([a, b, c], 'blobs'), [b, c, a]);
  assert.deepEqual(health.order([a, b, c], 'manifests'), [a, b, c], 'its manifests did not fail');
  health.failed(c, 'blobs', 10 * 3_600_000);
  assert.deepEqual(health.order([a, b, c], 'blobs'), [b, a, c], 'none is left out');
  now += 60_001;
  assert.deepEqual(health.order([a, b, c], 'blobs'), [a, b, c].filter((one) => one !== c).concat(c));
  now += 600_000;
  assert.deepEqual(health.order([c, b, a], 'blobs'), [c, b, a], 'a Retry-After of hours is not remembered');
  health.failed(a, 'blobs');
  health.succeeded(a, 'blobs');
  assert.deepEqual(health.order([a, b], 'blobs'), [a, b]);
});

test('the memory is bounded', () => {
  const health = new EndpointHealth({ now: () => 0 });
  health.failed(a, 'blobs');
  for (let n = 0; n < 1024; n++) health.failed({ base: `n${n}` }, 'blobs');
  assert.deepEqual(health.order([a, b], 'blobs'), [a, b]);
  assert.deepEqual(health.order([{ base: 'n1023' }, b], 'blobs')[0], b);
});

test('another thread knows what one has found out', () => {
  let known: FailedEndpoints = [];
  const health = new EndpointHealth({ changed: (failed) => (known = failed) });
  health.failed(a, 'blobs');
  assert.deepEqual(new EndpointHealth({ known }).order([a, b], 'blobs'), [b, a]);
  health.succeeded(a, 'blobs');
  assert.deepEqual(new EndpointHealth({ known }).order([a, b], 'blobs'), [a, b]);
});
