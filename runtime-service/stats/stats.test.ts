import assert from 'node:assert/strict';
import test from 'node:test';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { Stats } from './stats.ts';

const S = 1_000_000_000n;

test('the rate of a container goes on where the wall clock steps back', async () => {
  const record = { id: 'c', state: 'running', cgroup: { path: '/c' } } as ContainerRecord;
  let group = {};
  const stats = new Stats({
    containers: { onChange() {}, get: () => record, directory: () => '' },
    kernel: { usage: { groups: async () => [group], tree: async () => ({ bytes: 0n, inodes: 0n }) } },
    log: { warn() {} },
  } as unknown as Context);
  const rates: (bigint | undefined)[] = [];
  for (const [at, steady, usage] of [
    [1000n, 10n, 1n],
    [1010n, 20n, 6n],
    [500n, 30n, 16n],
    [510n, 40n, 36n],
  ] as const) {
    group = { at: at * S, steady: steady * S, cpu: { usage: usage * S } };
    const [usageOf] = await stats.of([record], 'brief' as never);
    rates.push(usageOf?.nanoCores);
  }
  assert.deepEqual(rates, [undefined, S / 2n, S, 2n * S]);
  await stats.close();
});
