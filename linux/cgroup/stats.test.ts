import assert from 'node:assert/strict';
import test from 'node:test';
import { parseLinks } from '../net/link-stats.ts';
import { parseOpenFiles } from '../process/rlimits.ts';
import { hugePageSizes } from './huge-pages.ts';
import { groupFiles, parseGroup, parsePressure } from './stats.ts';

const V1 = {
  'cpuacct.usage': '1234567890123456789\n',
  'cpuacct.usage_user': '1000\n',
  'cpuacct.usage_sys': '200\n',
  'cpu.stat': 'nr_periods 7\nnr_throttled 3\nthrottled_time 5000\n',
  'memory.usage_in_bytes': '1000\n',
  'memory.stat':
    'cache 1\nrss 2\ntotal_cache 300\ntotal_rss 400\ntotal_mapped_file 5\ntotal_inactive_file 200\n',
  'memory.limit_in_bytes': '4096\n',
  'memory.memsw.limit_in_bytes': '6144\n',
  'memory.oom_control': 'oom_kill_disable 0\nunder_oom 0\noom_kill 2\n',
  'pids.current': '4\n',
  'pids.max': 'max\n',
  'blkio.throttle.io_service_bytes_recursive': '8:0 Read 10\n8:0 Write 20\n8:0 Total 30\nTotal 30\n',
  'blkio.throttle.io_serviced_recursive': '8:0 Read 1\n8:0 Write 2\nTotal 3\n',
};
const V2 = {
  'cpu.stat': 'usage_usec 12\nuser_usec 7\nsystem_usec 5\nnr_periods 1\nnr_throttled 1\nthrottled_usec 9\n',
  'memory.current': '1000\n',
  'memory.stat': 'anon 400\nfile 300\nkernel 50\ninactive_file 2000\npgfault 8\npgmajfault 1\n',
  'memory.max': 'max\n',
  'memory.swap.current': '64\n',
  'memory.swap.max': '0\n',
  'memory.events': 'low 0\nmax 6\noom 1\noom_kill 1\noom_group_kill 0\n',
  'io.stat': '8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=0 dios=0\n7:1 \n',
};
const texts = (files: Record<string, string>) => new Map(Object.entries(files));

test('version 1: nanoseconds, the totals of memory, limits, devices', () => {
  const usage = parseGroup(1, texts(V1), 5n);
  assert.equal(usage?.cpu?.usage, 1234567890123456789n);
  assert.deepEqual([usage?.cpu?.user, usage?.cpu?.throttled, usage?.cpu?.periods], [1000n, 5000n, 7n]);
  assert.deepEqual([usage?.memory?.workingSet, usage?.memory?.rss, usage?.memory?.cache], [800n, 400n, 300n]);
  assert.deepEqual([usage?.memory?.limit, usage?.memory?.swapLimit], [4096n, 2048n]);
  assert.deepEqual([usage?.threads, usage?.threadsMax, usage?.oomKills], [4n, undefined, 2n]);
  assert.deepEqual(usage?.devices, [
    { device: '8:0', readBytes: 10n, writtenBytes: 20n, reads: 1n, writes: 2n },
  ]);
});

test('version 1: the largest number of pages is no limit', () => {
  const files = { ...V1, 'memory.limit_in_bytes': '9223372036854771712\n' };
  const memory = parseGroup(1, texts(files), 0n)?.memory;
  assert.deepEqual([memory?.limit, memory?.swapLimit], [undefined, undefined]);
});

test('version 2: microseconds become nanoseconds; a working set is never negative', () => {
  const usage = parseGroup(2, texts(V2), 5n);
  assert.deepEqual([usage?.cpu?.usage, usage?.cpu?.throttled], [12_000n, 9000n]);
  assert.deepEqual([usage?.memory?.workingSet, usage?.memory?.kernel, usage?.memory?.swap], [0n, 50n, 64n]);
  assert.deepEqual([usage?.memory?.limit, usage?.memory?.swapLimit], [undefined, 0n]);
  assert.deepEqual([usage?.memory?.failures, usage?.oomKills], [6n, 1n]);
  assert.equal(usage?.devices.length, 1);
  assert.equal(usage?.devices[0]?.writtenBytes, 2n);
});

test('a group without files is gone; nonsense in a file is as if it were missing', () => {
  assert.equal(parseGroup(1, new Map(), 0n), undefined);
  assert.equal(parseGroup(2, texts({ 'cpu.stat': '', 'memory.current': 'x' }), 0n), undefined);
  const odd = parseGroup(1, texts({ ...V1, 'memory.usage_in_bytes': '-5' }), 0n);
  assert.equal(odd?.memory, undefined);
  assert.equal(odd?.cpu?.usage, 1234567890123456789n);
});

test('metrics read what stats read, and more', () => {
  for (const version of [1, 2] as const) {
    const [stats, metrics] = [groupFiles(version, 'stats'), groupFiles(version, 'metrics')];
    assert.deepEqual(metrics.slice(0, stats.length), stats);
    assert.ok(metrics.length > stats.length);
    assert.equal(new Set(metrics).size, metrics.length);
  }
});

test('pressure: both lines, or some alone; a file with other contents is none', () => {
  const some = 'some avg10=1.50 avg60=0.25 avg300=0.00 total=123456789012\n';
  assert.deepEqual(parsePressure(some)?.some, { avg10: 1.5, avg60: 0.25, avg300: 0, total: 123456789012n });
  assert.equal(parsePressure(some)?.full.total, 0n);
  assert.equal(parsePressure(`${some}full avg10=0.10 avg60=0.00 avg300=0.00 total=7\n`)?.full.total, 7n);
  assert.equal(parsePressure('nonsense\n'), undefined);
  assert.equal(parsePressure(undefined), undefined);
});

test('links: names with colons, counters beyond 2^53, broken lines passed over', () => {
  const text = `Inter-|   Receive                                                |  Transmit
 face |bytes    packets errs drop fifo frame compressed multicast|bytes    packets errs drop fifo colls carrier compressed
    lo: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0
eth0:1:18446744073709551615 1 0 0 0 0 0 0 9 1 0 0 0 0 0 0
 bad: 1 2
`;
  const [lo, eth, ...more] = parseLinks(text);
  assert.deepEqual(lo, {
    name: 'lo',
    received: { bytes: 1n, packets: 2n, errors: 3n, dropped: 4n },
    sent: { bytes: 5n, packets: 6n, errors: 7n, dropped: 8n },
  });
  assert.deepEqual([eth?.name, eth?.received.bytes], ['eth0:1', 18446744073709551615n]);
  assert.deepEqual(more, []);
});

test('huge pages by size, with the peak where version 1 keeps it', () => {
  const files = (version: 1 | 2) =>
    groupFiles(version, 'metrics', ['2MB', '1GB']).filter((name) => name.startsWith('hugetlb.'));
  assert.deepEqual(files(2), ['hugetlb.2MB.current', 'hugetlb.1GB.current']);
  assert.equal(files(1).length, 4);
  assert.ok(!groupFiles(2, 'stats', ['2MB']).includes('hugetlb.2MB.current'));
  const one = {
    ...V1,
    'hugetlb.2MB.usage_in_bytes': '2097152\n',
    'hugetlb.2MB.max_usage_in_bytes': '4194304\n',
  };
  assert.deepEqual(parseGroup(1, texts(one), 0n)?.hugePages, [
    { pageSize: '2MB', usage: 2_097_152n, peak: 4_194_304n },
  ]);
  const two = { ...V2, 'hugetlb.2MB.current': '0\n', 'hugetlb.1GB.current': '1073741824\n' };
  assert.deepEqual(parseGroup(2, texts(two), 0n)?.hugePages, [
    { pageSize: '2MB', usage: 0n, peak: undefined },
    { pageSize: '1GB', usage: 1_073_741_824n, peak: undefined },
  ]);
  assert.deepEqual(parseGroup(2, texts({ ...V2, 'hugetlb.2MB.current': 'max' }), 0n)?.hugePages, []);
  assert.deepEqual(parseGroup(2, texts(V2), 0n)?.hugePages, []);
});

test('the sizes of huge pages are those that the kernel has', () => {
  for (const size of hugePageSizes()) assert.match(size, /^\d+(KB|MB|GB)$/);
});

test('the limit of open files', () => {
  const limits =
    'Limit Soft Limit\nMax processes  7 8 processes\nMax open files            1024  4096  files \n';
  assert.equal(parseOpenFiles(limits), 1024n);
  assert.equal(parseOpenFiles(limits.replace('1024', 'unlimited')), undefined);
  assert.equal(parseOpenFiles(''), undefined);
});
