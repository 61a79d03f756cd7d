/** Metrics of a cgroup: of a container, or of a pod with an empty container label. */
import type { PressurePair } from '#pod-sandbox/index.ts';
import { counter, gauge, labelled, type Metric, type Sample } from './metric.ts';

const seconds = (nanoseconds: bigint | undefined): bigint | undefined =>
  nanoseconds === undefined ? undefined : nanoseconds / 1_000_000_000n;

type Cpu = NonNullable<NonNullable<Sample['group']>['cpu']>;
type Memory = NonNullable<NonNullable<Sample['group']>['memory']>;
const cpu = (find: (stats: Cpu) => bigint | undefined) => (sample: Sample) =>
  sample.group?.cpu && find(sample.group.cpu);
const memory = (find: (stats: Memory) => bigint | undefined) => (sample: Sample) =>
  sample.group?.memory && find(sample.group.memory);

export const cpuMetrics: readonly Metric[] = [
  counter(
    'container_cpu_usage_seconds_total',
    'CPU time used, in seconds.',
    cpu(({ usage }) => seconds(usage)),
  ),
  counter(
    'container_cpu_user_seconds_total',
    'CPU time used in user mode, in seconds.',
    cpu(({ user }) => seconds(user ?? 0n)),
  ),
  counter(
    'container_cpu_system_seconds_total',
    'CPU time used in kernel mode, in seconds.',
    cpu(({ system }) => seconds(system ?? 0n)),
  ),
  counter(
    'container_cpu_cfs_periods_total',
    'Elapsed periods of the CPU quota.',
    cpu(({ periods }) => periods ?? 0n),
  ),
  counter(
    'container_cpu_cfs_throttled_periods_total',
    'Periods in which the CPU quota was used up.',
    cpu(({ throttledPeriods }) => throttledPeriods ?? 0n),
  ),
  counter(
    'container_cpu_cfs_throttled_seconds_total',
    'Time spent waiting for the next period of the CPU quota, in seconds.',
    cpu(({ throttled }) => seconds(throttled ?? 0n)),
  ),
];

export const memoryMetrics: readonly Metric[] = [
  gauge(
    'container_memory_usage_bytes',
    'Memory in use, file pages included.',
    memory(({ usage }) => usage),
  ),
  gauge(
    'container_memory_working_set_bytes',
    'Memory in use without inactive file pages.',
    memory(({ workingSet }) => workingSet),
  ),
  gauge(
    'container_memory_rss',
    'Anonymous memory in bytes.',
    memory(({ rss }) => rss),
  ),
  gauge(
    'container_memory_cache',
    'File pages in bytes.',
    memory(({ cache }) => cache),
  ),
  gauge(
    'container_memory_mapped_file',
    'Mapped file pages in bytes.',
    memory(({ mapped }) => mapped),
  ),
  gauge(
    'container_memory_swap',
    'Swap in use, in bytes.',
    memory(({ swap }) => swap),
  ),
  gauge(
    'container_memory_kernel_usage',
    'Kernel memory of the cgroup, in bytes.',
    memory(({ kernel }) => kernel ?? 0n),
  ),
  gauge(
    'container_memory_max_usage_bytes',
    'Maximum memory usage; 0 where the kernel does not report it.',
    memory(({ peak }) => peak ?? 0n),
  ),
  counter(
    'container_memory_failcnt',
    'How often the memory limit was hit.',
    memory(({ failures }) => failures ?? 0n),
  ),
  labelled(
    'counter',
    'container_memory_failures_total',
    'Page faults; major ones waited for a disk.',
    ['failure_type', 'scope'],
    ({ group }) =>
      group?.memory
        ? [
            { labels: ['pgfault', 'hierarchy'], value: group.memory.faults },
            { labels: ['pgmajfault', 'hierarchy'], value: group.memory.majorFaults },
          ]
        : [],
  ),
  counter('container_oom_events_total', 'Processes killed by the OOM killer.', ({ group }) =>
    group ? (group.oomKills ?? 0n) : undefined,
  ),
];

const RESOURCES = { cpu: 'CPU time', memory: 'memory', io: 'disks' } as const;

/** Converts the kernel's microseconds to seconds. */
const stalled = (kind: keyof typeof RESOURCES, of: (pair: PressurePair) => bigint) => (sample: Sample) => {
  const pair = sample.group?.pressure[kind];
  return pair && of(pair) / 1_000_000n;
};

export const pressureMetrics: readonly Metric[] = (['cpu', 'memory', 'io'] as const).flatMap((kind) => [
  counter(
    `container_pressure_${kind}_stalled_seconds_total`,
    `Time in which all tasks were stalled waiting for ${RESOURCES[kind]}, in seconds.`,
    stalled(kind, ({ full }) => full.total),
  ),
  counter(
    `container_pressure_${kind}_waiting_seconds_total`,
    `Time in which at least one task waited for ${RESOURCES[kind]}, in seconds.`,
    stalled(kind, ({ some }) => some.total),
  ),
]);

const perPageSize = (find: (pages: HugePages) => bigint | undefined) => (sample: Sample) =>
  (sample.group?.hugePages ?? []).flatMap((pages) => {
    const value = find(pages);
    return value === undefined ? [] : [{ labels: [pages.pageSize], value }];
  });
type HugePages = NonNullable<Sample['group']>['hugePages'][number];

export const hugePageMetrics: readonly Metric[] = [
  labelled(
    'gauge',
    'container_hugetlb_usage_bytes',
    'Huge pages in use, in bytes.',
    ['pagesize'],
    perPageSize(({ usage }) => usage),
  ),
  labelled(
    'gauge',
    'container_hugetlb_max_usage_bytes',
    'Maximum usage of huge pages, in bytes; absent with cgroup v2, which does not record it.',
    ['pagesize'],
    perPageSize(({ peak }) => peak),
  ),
];

type Device = NonNullable<Sample['group']>['devices'][number];
const perDevice = (find: (device: Device) => bigint) => (sample: Sample) =>
  (sample.group?.devices ?? []).map((device) => ({ labels: [device.device], value: find(device) }));

export const deviceMetrics: readonly Metric[] = [
  labelled(
    'counter',
    'container_blkio_device_usage_total',
    'Bytes read and written, by device.',
    ['device', 'major', 'minor', 'operation'],
    ({ group }) =>
      (group?.devices ?? []).flatMap(({ device, readBytes, writtenBytes }) => {
        const [major = '', minor = ''] = device.split(':');
        return [
          { labels: [device, major, minor, 'Read'], value: readBytes },
          { labels: [device, major, minor, 'Write'], value: writtenBytes },
        ];
      }),
  ),
  labelled(
    'counter',
    'container_fs_reads_bytes_total',
    'Bytes read from a device.',
    ['device'],
    perDevice(({ readBytes }) => readBytes),
  ),
  labelled(
    'counter',
    'container_fs_reads_total',
    'Reads from a device.',
    ['device'],
    perDevice(({ reads }) => reads),
  ),
  labelled(
    'counter',
    'container_fs_writes_bytes_total',
    'Bytes written to a device.',
    ['device'],
    perDevice(({ writtenBytes }) => writtenBytes),
  ),
  labelled(
    'counter',
    'container_fs_writes_total',
    'Writes to a device.',
    ['device'],
    perDevice(({ writes }) => writes),
  ),
];
