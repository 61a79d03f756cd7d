import assert from 'node:assert/strict';
import test from 'node:test';
import { tokenBucket } from './traffic-control.ts';

test('the numbers of a limit are those of the plugin bandwidth', () => {
  // As tc(8) shows them after the plugin 1.1.1, on a kernel whose clock has 15.625 ticks a microsecond.
  assert.deepEqual(tokenBucket({ rate: 8e6, burst: 8e5 }, 15.625), {
    rate: 1e6,
    queue: 125_000,
    buffer: 1_562_500,
  });
  // Bursts of the kubelet's annotations are as large as the plugin takes; the size in ticks wraps, as it does there.
  const { buffer } = tokenBucket({ rate: 1e3, burst: 2 ** 31 - 1 }, 15.625);
  assert.ok(Number.isInteger(buffer) && buffer >= 0 && buffer < 2 ** 32);
});
