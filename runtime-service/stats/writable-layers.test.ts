import assert from 'node:assert/strict';
import test from 'node:test';
import { setImmediate as turn } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';
import { newContainerId } from '#core/ids.ts';
import { silentLog } from '#core/operation.ts';
import type { TreeUsage } from '#linux/ports/stats.ts';
import { WritableLayers } from './writable-layers.ts';

interface Walk {
  readonly path: string;
  end(outcome: TreeUsage | Error): void;
}

/** Walks that end when the test ends them. */
function stand() {
  const walks: Walk[] = [];
  const warned: object[] = [];
  const usage = {
    tree: (path: string, signal: AbortSignal) =>
      new Promise<TreeUsage>((resolve, reject) => {
        signal.addEventListener('abort', () => reject(signal.reason));
        walks.push({
          path,
          end: (outcome) => (outcome instanceof Error ? reject(outcome) : resolve(outcome)),
        });
      }),
  };
  const log = { ...silentLog, warn: (fields: object) => void warned.push(fields) };
  return { walks, warned, layers: new WritableLayers(usage, (id) => `/c/${id}/upper`, log) };
}
const usageOf = (bytes: bigint): TreeUsage => ({ bytes, inodes: 1n });

test('nothing is known before the first walk; what is fresh is not measured again', async () => {
  const { walks, layers } = stand();
  const id = newContainerId();
  assert.equal(layers.get(id), undefined);
  assert.equal(layers.get(id), undefined);
  assert.deepEqual(
    walks.map(({ path }) => path),
    [`/c/${id}/upper`],
  );
  walks[0]?.end(usageOf(7n));
  await turn();
  assert.equal(layers.get(id)?.bytes, 7n);
  assert.ok((layers.get(id)?.at ?? 0n) > 0n);
  assert.equal(walks.length, 1);
  await layers.close();
});

test('one tree is walked after another, each once however often it is requested', async () => {
  const { walks, layers } = stand();
  const ids = [newContainerId(), newContainerId()] as const;
  for (let n = 0; n < 3; n++) for (const id of ids) layers.measure(id);
  assert.equal(walks.length, 1);
  walks[0]?.end(usageOf(1n));
  await turn();
  assert.equal(walks.length, 2);
  walks[1]?.end(usageOf(2n));
  await turn();
  assert.deepEqual(
    ids.map((id) => layers.get(id)?.bytes),
    [1n, 2n],
  );
  assert.equal(walks.length, 2);
  await layers.close();
});

test('one that is removed during its walk is not remembered, nor one that cannot be walked', async () => {
  const { walks, warned, layers } = stand();
  const [gone, broken] = [newContainerId(), newContainerId()];
  layers.measure(gone);
  layers.measure(broken);
  layers.forget(gone);
  walks[0]?.end(usageOf(1n));
  await turn();
  walks[1]?.end(new CrispError('Internal', 'lost'));
  await turn();
  assert.equal(warned.length, 1);
  assert.equal(layers.get(broken), undefined);
  assert.equal(walks.length, 3, 'it is retried with the next request');
  await layers.close();
});

test('the end of the service ends a walk, and no other begins', async () => {
  const { walks, warned, layers } = stand();
  layers.measure(newContainerId());
  layers.measure(newContainerId());
  await layers.close();
  layers.measure(newContainerId());
  assert.equal(walks.length, 1);
  assert.deepEqual(warned, []);
});
