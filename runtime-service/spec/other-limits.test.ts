import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { resourcesOf } from '#test/fixtures/container-config.ts';
import { changedLimits, checkChanges, type LimitHost, limitResources, otherFiles } from './other-limits.ts';

const V2: LimitHost = {
  version: 2,
  controllers: new Set(['cpu', 'memory', 'pids', 'hugetlb']),
  swap: true,
  hugepageSizes: new Set(['2MB']),
  isCrun: true,
};

test('what is absent stays, what is named changes, 0 takes a limit away', () => {
  const before = {
    resources: resourcesOf({ cpuShares: 5n, memoryLimitBytes: 7n, cpusetCpus: '0', unified: { 'a.b': '1' } }),
    others: { pids: 3n, swappiness: 1n },
  };
  assert.deepEqual(changedLimits(before, {}), before);
  const { resources, others } = changedLimits(before, {
    memory: { limit: 0n, swappiness: 0n, reservation: 2n },
    cpu: { quota: -1n, cpus: '' },
    hugepageLimits: { '2MB': 4n },
    unified: { 'c.d': '2' },
    rdtClass: 'gold',
  });
  assert.deepEqual(
    resources,
    resourcesOf({
      cpuShares: 5n,
      cpuQuota: -1n,
      cpusetCpus: '0',
      hugepageLimits: [{ pageSize: '2MB', limit: 4n }],
      unified: { 'a.b': '1', 'c.d': '2' },
    }),
  );
  assert.deepEqual(others, { pids: 3n, swappiness: 0n, reservation: 2n, rdtClass: 'gold' });
});

test('what cannot be limited here is refused by its field', () => {
  const refused = (
    changes: Parameters<typeof checkChanges>[0],
    text: RegExp,
    host: Partial<LimitHost> = {},
  ) =>
    assert.throws(
      () => checkChanges(changes, { ...V2, ...host }),
      (error) => hasCode(error, 'FailedPrecondition') && text.test(error.message) && error.hint !== '',
    );
  checkChanges(
    { memory: { disableOomKiller: false, useHierarchy: true }, pids: -1n, cpu: { shares: 2n } },
    V2,
  );
  refused({ cpu: { realtimePeriod: 1n } }, /NRI: cpu\.realtimePeriod/);
  refused({ memory: { kernelTcp: 1n } }, /memory\.kernelTcp/);
  refused({ memory: { kernelTcp: 1n } }, /runc ignores/, { version: 1, isCrun: false });
  refused({ memory: { reservation: -2n } }, /memory\.reservation: -2/);
  refused({ pids: 1n }, /no pids controller/, { controllers: new Set() });
  refused({ pids: 2n ** 63n }, /pids: 9223372036854775808/);
});

test('as the OCI has them, and as files of those that differ', () => {
  const others = { pids: 9n, reservation: 8n, swappiness: 0n, disableOomKiller: true, kernel: 7n };
  const made = limitResources({ resources: resourcesOf({ memoryLimitBytes: 20n }), others }, V2);
  assert.deepEqual(made, {
    memory: { limit: 20n, reservation: 8n, kernel: 7n, swappiness: 0n, disableOOMKiller: true },
    pids: { limit: 9n },
  });
  assert.deepEqual(otherFiles({ pids: 0n, reservation: -1n }, 2), [
    { file: 'pids.max', value: 'max' },
    { file: 'memory.low', value: 'max' },
  ]);
  assert.deepEqual(otherFiles(others, 1, { pids: 9n, reservation: 8n, kernel: 7n }), [
    { file: 'memory.swappiness', value: '0' },
    { file: 'memory.oom_control', value: '1' },
  ]);
});
