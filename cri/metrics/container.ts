/** Metrics of containers only: limits, processes, writable layer. */
import { gauge, labelled, type Metric, type Sample } from './metric.ts';

type Container = NonNullable<Sample['container']>;
const own =
  (find: (container: Container, sample: Sample) => bigint | undefined) =>
  (sample: Sample): bigint | undefined =>
    sample.container && find(sample.container, sample);
type Resources = Container['record']['resources'];
const spec = (find: (resources: Resources) => bigint | undefined) =>
  own(({ record }) => find(record.resources));

/** The kernel's defaults. */
const PERIOD = 100_000n;
const SHARES = 1024n;
const atLeastZero = (value: bigint): bigint => (value > 0n ? value : 0n);

export const specMetrics: readonly Metric[] = [
  gauge(
    'container_spec_cpu_period',
    'Period of the CPU quota, in microseconds.',
    spec(({ cpuPeriod }) => cpuPeriod || PERIOD),
  ),
  gauge(
    'container_spec_cpu_quota',
    'CPU time in each period, in microseconds; absent without a limit.',
    spec(({ cpuQuota }) => (cpuQuota > 0n ? cpuQuota : undefined)),
  ),
  gauge(
    'container_spec_cpu_shares',
    'Relative weight of CPU time (cpu.shares).',
    spec(({ cpuShares }) => cpuShares || SHARES),
  ),
  gauge(
    'container_spec_memory_limit_bytes',
    'Memory limit; 0 is none.',
    spec(({ memoryLimitBytes }) => atLeastZero(memoryLimitBytes)),
  ),
  gauge(
    'container_spec_memory_swap_limit_bytes',
    'Limit of memory and swap together; 0 is none.',
    spec(({ memorySwapLimitBytes }) => atLeastZero(memorySwapLimitBytes)),
  ),
  gauge(
    'container_spec_memory_reservation_limit_bytes',
    'Memory reserved for the container (memory.low); 0 is none.',
    spec(({ unified }) => {
      const low = unified['memory.low'] ?? '0';
      return /^\d{1,18}$/.test(low) ? BigInt(low) : 0n;
    }),
  ),
  gauge(
    'container_start_time_seconds',
    'Start time, in seconds since the epoch.',
    own(({ record }) => (record.startedAt ?? record.createdAt) / 1_000_000_000n),
  ),
  gauge(
    'container_last_seen',
    'Time of this sample, in seconds since the epoch.',
    own((_container, { now }) => now),
  ),
];

const stats = (find: (stats: NonNullable<Container['processes']>) => number) =>
  own(({ processes }) => BigInt(processes ? find(processes) : 0));

export const processMetrics: readonly Metric[] = [
  gauge(
    'container_processes',
    'Processes in the container.',
    stats(({ processes }) => processes),
  ),
  gauge(
    'container_file_descriptors',
    'Open file descriptors of its processes.',
    stats(({ descriptors }) => descriptors),
  ),
  gauge(
    'container_sockets',
    'Open sockets of its processes.',
    stats(({ sockets }) => sockets),
  ),
  gauge(
    'container_threads',
    'Threads in the container.',
    own((_container, { group }) => group?.threads ?? 0n),
  ),
  gauge(
    'container_threads_max',
    'Limit of threads; 0 is none.',
    own((_container, { group }) => group?.threadsMax ?? 0n),
  ),
  labelled(
    'gauge',
    'container_ulimits_soft',
    'Soft limits of its init process: open files.',
    ['ulimit'],
    ({ container }) =>
      container?.maxOpenFiles === undefined
        ? []
        : [{ labels: ['max_open_files'], value: container.maxOpenFiles }],
  ),
];

const ofStorage = (find: (container: Container) => bigint) => (sample: Sample) =>
  sample.container ? [{ labels: [sample.container.storage.mountpoint], value: find(sample.container) }] : [];

export const storageMetrics: readonly Metric[] = [
  labelled(
    'gauge',
    'container_fs_usage_bytes',
    'Size of the writable layer of the container.',
    ['device'],
    ofStorage(({ layer }) => layer?.bytes ?? 0n),
  ),
  labelled(
    'gauge',
    'container_fs_limit_bytes',
    'Size of the file system of the writable layer.',
    ['device'],
    ofStorage(({ storage }) => storage.bytes),
  ),
  labelled(
    'gauge',
    'container_fs_inodes_total',
    'Inodes of that file system.',
    ['device'],
    ofStorage(({ storage }) => storage.inodes),
  ),
  labelled(
    'gauge',
    'container_fs_inodes_free',
    'Free inodes of that file system.',
    ['device'],
    ofStorage(({ storage }) => storage.inodesFree),
  ),
];
