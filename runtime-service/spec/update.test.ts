import assert from 'node:assert/strict';
import test from 'node:test';
import { hasCode } from '#core/errors.ts';
import { resourcesOf } from '#test/fixtures/container-config.ts';
import { encodeSpec, parseSpec } from './oci.ts';
import {
  checkUpdate,
  controlFiles,
  liftedQuota,
  mergeResources,
  type UpdateHost,
  updateDocument,
} from './update.ts';

const host = (version: 1 | 2, writesNoQuota = false): UpdateHost => ({
  version,
  writesNoQuota,
  controllers: new Set(['cpu', 'memory', 'hugetlb']),
  swap: true,
  hugepageSizes: new Set(['2MB']),
});
const full = resourcesOf({
  cpuShares: 512n,
  cpuQuota: 20_000n,
  cpuPeriod: 100_000n,
  memoryLimitBytes: 64n,
  memorySwapLimitBytes: 64n,
  oomScoreAdj: 5n,
  cpusetCpus: '0',
  hugepageLimits: [{ pageSize: '2MB', limit: 0n }],
  unified: { 'memory.high': '60', 'memory.oom.group': '1' },
});

test('what is not named stays; maps and page sizes are merged; the OOM score never changes', () => {
  assert.deepEqual(mergeResources(full, resourcesOf()), full);
  const changed = mergeResources(
    full,
    resourcesOf({
      cpuQuota: -1n,
      oomScoreAdj: 9n,
      hugepageLimits: [{ pageSize: '1GB', limit: 7n }],
      unified: { 'memory.high': 'max' },
    }),
  );
  assert.deepEqual([changed.cpuQuota, changed.cpuShares, changed.oomScoreAdj], [-1n, 512n, 5n]);
  assert.deepEqual(changed.hugepageLimits, [
    { pageSize: '2MB', limit: 0n },
    { pageSize: '1GB', limit: 7n },
  ]);
  assert.deepEqual(changed.unified, { 'memory.high': 'max', 'memory.oom.group': '1' });
  assert.deepEqual(mergeResources(changed, changed), changed);
});

test('a memory limit takes the limit with swap along', () => {
  const swapOf = (memory: bigint, swap: bigint, wanted: bigint, wantedSwap = 0n) =>
    mergeResources(
      resourcesOf({ memoryLimitBytes: memory, memorySwapLimitBytes: swap }),
      resourcesOf({ memoryLimitBytes: wanted, memorySwapLimitBytes: wantedSwap }),
    ).memorySwapLimitBytes;
  assert.equal(swapOf(64n, 64n, 128n), 128n, 'no swap stays no swap');
  assert.equal(swapOf(64n, 64n, 32n), 32n);
  assert.equal(swapOf(64n, 96n, 128n), 128n);
  assert.equal(swapOf(64n, 256n, 128n), 256n);
  assert.equal(swapOf(64n, -1n, 128n), -1n);
  assert.equal(swapOf(64n, 0n, 128n), 0n);
  assert.equal(swapOf(64n, 64n, 128n, 200n), 200n);
  assert.equal(swapOf(64n, 128n, -1n), -1n, 'no kernel takes a limit with swap below one without');
});

test('limits that no group can have are refused by name', () => {
  const refused = (changes: Parameters<typeof resourcesOf>[0], text: RegExp) =>
    assert.throws(
      () => checkUpdate(resourcesOf(changes)),
      (error) => hasCode(error, 'InvalidArgument') && text.test(error.message),
    );
  refused({ cpusetCpus: '0-' }, /cpuset_cpus/);
  refused({ cpusetMems: '0;1' }, /cpuset_mems/);
  refused({ hugepageLimits: [{ pageSize: '2MB', limit: -1n }] }, /2MB/);
  checkUpdate(full);
});

test('a limit that is no longer set is passed to the runtime as its default', () => {
  assert.deepEqual(updateDocument(resourcesOf(), full, host(1)), {
    memory: { limit: -1n, swap: -1n },
    cpu: { shares: 1024n, period: 100_000n, quota: -1n },
  });
  assert.deepEqual(updateDocument(resourcesOf(), resourcesOf(), host(1)), {});
});

test('huge pages and named files are written directly, where the version has them', () => {
  const wanted = resourcesOf({
    hugepageLimits: [
      { pageSize: '2MB', limit: 4n },
      { pageSize: '1GB', limit: 0n },
    ],
    unified: { 'memory.high': '60' },
  });
  assert.deepEqual(controlFiles(wanted, host(2)), [
    { file: 'hugetlb.2MB.max', value: '4' },
    { file: 'memory.high', value: '60' },
  ]);
  assert.deepEqual(controlFiles(wanted, host(1)), [{ file: 'hugetlb.2MB.limit_in_bytes', value: '4' }]);
});

test('where the runtime cannot lift a quota, its control file is written', () => {
  const lifted = resourcesOf({ cpuQuota: -1n });
  assert.deepEqual(updateDocument(lifted, full, host(1)).cpu?.quota, -1n);
  assert.equal(updateDocument(lifted, full, host(1, true)).cpu?.quota, undefined);
  const written = [{ file: 'cpu.cfs_quota_us', value: '-1' }];
  assert.deepEqual(liftedQuota(lifted, full, host(1, true)), written);
  assert.deepEqual(liftedQuota(resourcesOf(), full, host(1, true)), written);
  assert.deepEqual(liftedQuota(full, full, host(1, true)), []);
  assert.deepEqual(liftedQuota(lifted, full, host(1)), []);
});

test('a spec that is read and written again keeps all digits', () => {
  const text = '{"a":18446744073709551615,"b":[9007199254740993,-1,1.5],"c":"9007199254740993"}';
  assert.equal(encodeSpec(parseSpec(text)), text);
});
