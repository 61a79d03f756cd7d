import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { resourcesOf } from '#test/fixtures/container-config.ts';
import { ociResources, type ResourceHost } from './resources.ts';

const V2: ResourceHost = {
  version: 2,
  controllers: new Set(['cpu', 'memory', 'pids', 'hugetlb']),
  swap: true,
  hugepageSizes: new Set(['2MB']),
};
const of = (changes: Parameters<typeof resourcesOf>[0], host: Partial<ResourceHost> = {}) =>
  ociResources(resourcesOf(changes), { ...V2, ...host });
const refused = (changes: Parameters<typeof resourcesOf>[0], text: RegExp) =>
  assert.throws(
    () => of(changes),
    (error) => hasCode(error, 'InvalidArgument') && text.test(error.message),
  );

test('zero is unset, and nothing set is nothing written', () => {
  assert.deepEqual(of({}), {});
});

test('cpu: each field by itself; a quota of -1 is no limit, which a new group has', () => {
  assert.deepEqual(of({ cpuShares: 512n, cpuPeriod: 100000n, cpuQuota: -1n }), {
    cpu: { shares: 512n, period: 100000n },
  });
  assert.deepEqual(of({ cpusetCpus: '0-1', cpusetMems: '0' }), { cpu: { cpus: '0-1', mems: '0' } });
});

test('memory: 64 bits are kept, the swap limit only where swap is counted', () => {
  const limit = 2n ** 53n + 1n;
  assert.deepEqual(of({ memoryLimitBytes: limit }), { memory: { limit } });
  assert.deepEqual(of({ memoryLimitBytes: 5n, memorySwapLimitBytes: 5n }), {
    memory: { limit: 5n, swap: 5n },
  });
  assert.deepEqual(of({ memoryLimitBytes: 5n, memorySwapLimitBytes: -1n }), {
    memory: { limit: 5n, swap: -1n },
  });
  assert.deepEqual(of({ memoryLimitBytes: 5n, memorySwapLimitBytes: 9n }, { swap: false }), {
    memory: { limit: 5n },
  });
  assert.deepEqual(of({ memorySwapLimitBytes: 9n }, { swap: false }), {});
  assert.deepEqual(of({ memoryLimitBytes: -1n }), { memory: { limit: -1n } });
});

test('what no kernel takes is refused by name and value', () => {
  refused({ memoryLimitBytes: -2n }, /memory_limit_in_bytes -2/);
  refused({ memoryLimitBytes: 10n, memorySwapLimitBytes: 9n }, /memory_swap_limit_in_bytes 9.*10/);
  refused({ memorySwapLimitBytes: -2n }, /memory_swap_limit_in_bytes -2/);
  refused({ cpuShares: -1n }, /cpu_shares -1/);
  refused({ cpuPeriod: -1n }, /cpu_period -1/);
  refused({ cpuQuota: -2n }, /cpu_quota -2/);
});

test('huge pages: sizes of the host, where it counts them', () => {
  const hugepageLimits = [
    { pageSize: '2MB', limit: 4194304n },
    { pageSize: '1GB', limit: 0n },
  ];
  assert.deepEqual(of({ hugepageLimits }), { hugepageLimits: [{ pageSize: '2MB', limit: 4194304n }] });
  assert.deepEqual(of({ hugepageLimits }, { controllers: new Set(['memory']) }), {});
  assert.deepEqual(of({ hugepageLimits: [{ pageSize: '16GB', limit: 1n }] }), {});
});

test('unified files reach the OCI runtime on v2 alone', () => {
  const unified = { 'memory.swap.max': '0', 'memory.oom.group': '1', 'hugetlb.2MB.max': '5' };
  assert.deepEqual(of({ unified }), { unified });
  assert.deepEqual(of({ unified }, { version: 1 }), {});
});

test('a unified key that leaves the cgroup is refused', () => {
  for (const key of [
    '../memory.max',
    '/etc/passwd',
    'memory',
    'memory..max',
    '',
    'a.b/c',
    'memory.max\n',
    '__proto__',
    'cgroup.freeze',
    'cgroup.procs',
  ]) {
    refused({ unified: { ['memory.high']: '1', ...Object.fromEntries([[key, '1']]) } }, /unified/);
  }
  for (const value of ['', '1\n2', '1\0', 'x'.repeat(257)])
    refused({ unified: { 'memory.high': value } }, /memory\.high is not one line/);
  assert.throws(() => of({ unified: { 'cgroup.kill': '1' } }, { version: 1 }), /cgroup\.kill/);
});

test('a unified key of a controller that is not there is refused by name', () => {
  assert.throws(
    () => of({ unified: { 'misc.max': '1' } }),
    (error) => hasCode(error, 'FailedPrecondition') && /misc\.max.*no misc controller/.test(error.message),
  );
});
