import assert from 'node:assert/strict';
import test from 'node:test';
import { CrispError, hasCode } from '#core/errors.ts';
import type { LayerRecord } from '../store/layer-store.ts';
import { LowerLayers } from './lower-layers.ts';

const never = new AbortController().signal;

/** Layers whose keys are these, from the bottom to the top; `opaque` hides what is below. */
function lowerOf(keys: readonly string[], opaque = '') {
  const counts = { obtained: 0, mounted: 0, held: 0 };
  const lower = new LowerLayers(
    async (index, signal) => {
      signal.throwIfAborted();
      counts.obtained++;
      const key = keys[index] ?? '';
      return { key, rootOpaque: key === opaque } as LayerRecord;
    },
    {
      hold() {
        counts.held++;
        return { [Symbol.dispose]: () => counts.held-- };
      },
      async mounted(some) {
        counts.mounted++;
        return some.map((key) => `/${key}`);
      },
    },
  );
  return { lower, counts };
}

test('of two hundred layers that all wait each is obtained and mounted once, and held until the end', async () => {
  const keys = Array.from({ length: 200 }, (_, n) => `${n}`);
  const { lower, counts } = lowerOf(keys);
  {
    using _end = lower;
    const all = await Promise.all(keys.map((_, index) => lower.directories(index, never)));
    for (const [index, directories] of all.entries())
      assert.deepEqual(
        directories,
        keys
          .slice(0, index)
          .reverse()
          .map((key) => `/${key}`),
      );
    await lower.directories(199, never);
    assert.deepEqual(counts, { obtained: 199, mounted: 199, held: 199 });
  }
  assert.equal(counts.held, 0);
});

test('a layer that occurs twice is there once, and what is below an opaque one is not', async () => {
  using twice = lowerOf(['a', 'b', 'a', 'c']).lower;
  assert.deepEqual(await twice.directories(4, never), ['/c', '/a', '/b']);
  using hidden = lowerOf(['a', 'b', 'c'], 'b').lower;
  assert.deepEqual(await hidden.directories(3, never), ['/c', '/b']);
});

test('who leaves ends the wait of no other', async () => {
  const gate = Promise.withResolvers<LayerRecord>();
  let aborted = 0;
  using lower = new LowerLayers(
    async (_, signal) => {
      signal.addEventListener('abort', () => aborted++);
      return await gate.promise;
    },
    { hold: () => ({ [Symbol.dispose]() {} }), mounted: async (keys) => [...keys] },
  );
  const cancel = new AbortController();
  const [leaves, stays] = [lower.directories(1, cancel.signal), lower.directories(1, never)];
  cancel.abort(new CrispError('Cancelled', 'not wanted'));
  await assert.rejects(leaves, (error) => hasCode(error, 'Cancelled'));
  assert.equal(aborted, 0);
  gate.resolve({ key: 'a', rootOpaque: false } as LayerRecord);
  assert.deepEqual(await stays, ['a']);
});
