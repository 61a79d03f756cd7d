import assert from 'node:assert/strict';
import test from 'node:test';
import type { Digest } from '#core/ids.ts';
import { Activity, Transfer } from './activity.ts';
import { PullMeter } from './progress.ts';

const digestOf = (name: string): Digest => `sha256:${name.padEnd(64, '0')}` as Digest;

test('the rate of a transfer is that of its last five seconds', () => {
  const transfer = new Transfer(() => {}, 0);
  assert.equal(transfer.rate(0), 0);
  transfer.report(1000, 1000);
  assert.equal(transfer.rate(1000), 1000);
  for (let at = 2000; at <= 20_000; at += 1000) transfer.report(at * 2, at);
  assert.equal(transfer.rate(20_000), 2000);
  assert.equal(transfer.rate(23_000), 800, 'it falls while nothing arrives');
  assert.equal(transfer.rate(60_000), 0);
});

test('a transfer that restarts has no negative rate', () => {
  const transfer = new Transfer(() => {}, 0);
  transfer.report(5000, 1000);
  transfer.report(0, 2000);
  assert.equal(transfer.rate(2000), 0);
  transfer.report(500, 3000);
  assert.equal(transfer.rate(3000), 500);
});

test('a pull shows the transfers and layers of all pulls that it waits for', () => {
  const activity = new Activity();
  const stored = new Set<Digest>();
  const [one, two] = [new PullMeter('a'), new PullMeter('b')];
  const [blob, other] = [digestOf('a'), digestOf('b')];
  const shown = (meter: PullMeter) => {
    const { stage, layers } = meter.snapshot(activity, (digest) => stored.has(digest));
    return [stage, ...layers.map(({ state, done }) => `${state} ${done}`)];
  };
  assert.deepEqual(shown(one), ['resolve']);
  for (const meter of [one, two]) meter.layer(blob, 100, 'chain');
  two.layer(other, 50, 'chain of both');
  for (const meter of [one, two]) meter.stage = 'layers';
  assert.deepEqual(shown(two), ['fetch', 'waiting 0', 'waiting 0']);
  {
    using transfer = activity.transfer(blob);
    transfer.report(40);
    assert.deepEqual(shown(one), ['fetch', 'fetching 40']);
    assert.deepEqual(shown(two), ['fetch', 'fetching 40', 'waiting 0']);
  }
  stored.add(blob);
  {
    using unpacking = activity.unpack('chain');
    assert.deepEqual(shown(one), ['unpack', 'waiting 100']);
    unpacking.start();
    {
      using transfer = activity.transfer(blob);
      transfer.report(60);
      assert.deepEqual(shown(one), ['fetch', 'fetching 60'], 'it is unpacked while it arrives');
    }
    assert.deepEqual(shown(one), ['unpack', 'unpacking 100']);
    assert.deepEqual(shown(two), ['fetch', 'unpacking 100', 'waiting 0']);
  }
  for (const { layers } of [one, two]) for (const layer of layers) layer.finished = layer.digest === blob;
  assert.deepEqual(shown(one), ['unpack', 'done 100']);
  one.stage = 'commit';
  assert.deepEqual(shown(one), ['commit', 'done 100']);
});

test('layers that a pull has not fetched itself are shared; who failed is kept once', () => {
  const meter = new PullMeter('a');
  for (const name of ['a', 'b', 'c']) meter.layer(digestOf(name), 10, name);
  const failed = [{ endpoint: 'http://down', cause: 'ECONNREFUSED' }];
  const served = { endpoint: 'http://up', kind: 'mirror', configured: true, failed } as const;
  meter.served(served, 7);
  meter.served({ ...served, failed: [{ endpoint: 'http://down', cause: 'other' }] }, 10, digestOf('b'));
  assert.deepEqual(meter.layerCounts, { fetched: 1, shared: 2 });
  assert.deepEqual([...meter.shares], [['http://up', { kind: 'mirror', blobs: 1, bytes: 17 }]]);
  assert.deepEqual([...meter.failed], [['http://down', 'ECONNREFUSED']]);
});
