/** The control files of a group's usage and their contents, in both versions of cgroups. Pure. */

import type { CgroupVersion } from '../ports/kernel.ts';
import type {
  CgroupStats,
  CpuStats,
  DeviceStats,
  MemoryStats,
  Pressure,
  PressurePair,
  UsageDetail,
} from '../ports/stats.ts';
import { hugePageFiles, parseHugePages } from './huge-pages.ts';

const PRESSURE = ['cpu.pressure', 'memory.pressure', 'io.pressure'];
const FILES: Readonly<Record<CgroupVersion, Readonly<Record<UsageDetail, readonly string[]>>>> = {
  1: {
    stats: [
      'cpuacct.usage',
      'memory.usage_in_bytes',
      'memory.stat',
      'memory.limit_in_bytes',
      'memory.memsw.limit_in_bytes',
      'pids.current',
      ...PRESSURE,
    ],
    metrics: [
      'cpuacct.usage_user',
      'cpuacct.usage_sys',
      'cpu.stat',
      'memory.max_usage_in_bytes',
      'memory.failcnt',
      'memory.kmem.usage_in_bytes',
      'memory.oom_control',
      'pids.max',
      'blkio.throttle.io_service_bytes_recursive',
      'blkio.throttle.io_serviced_recursive',
    ],
  },
  2: {
    stats: [
      'cpu.stat',
      'memory.current',
      'memory.stat',
      'memory.max',
      'memory.swap.current',
      'memory.swap.max',
      'pids.current',
      ...PRESSURE,
    ],
    metrics: ['memory.peak', 'memory.events', 'pids.max', 'io.stat'],
  },
};

/** The names of the files to read; those of `metrics` come after those of `stats`. `pageSizes`: of huge pages. */
export function groupFiles(
  version: CgroupVersion,
  detail: UsageDetail,
  pageSizes: readonly string[] = [],
): readonly string[] {
  const { stats, metrics } = FILES[version];
  return detail === 'stats' ? stats : [...stats, ...metrics, ...hugePageFiles(version, pageSizes)];
}

/** Texts of control files by name; a missing one is absent. */
export type Texts = ReadonlyMap<string, string>;

/** undefined where neither CPU nor memory is counted: the group is gone. */
export function parseGroup(
  version: CgroupVersion,
  texts: Texts,
  at: bigint,
  steady = at,
): CgroupStats | undefined {
  const cpu = version === 1 ? cpuV1(texts) : cpuV2(texts);
  const memory = version === 1 ? memoryV1(texts) : memoryV2(texts);
  if (!cpu && !memory) return undefined;
  return {
    at,
    steady,
    cpu,
    memory,
    pressure: {
      cpu: parsePressure(texts.get('cpu.pressure')),
      memory: parsePressure(texts.get('memory.pressure')),
      io: parsePressure(texts.get('io.pressure')),
    },
    threads: number(texts.get('pids.current')),
    threadsMax: number(texts.get('pids.max')),
    oomKills: field(texts.get(version === 1 ? 'memory.oom_control' : 'memory.events'), 'oom_kill'),
    devices: version === 1 ? devicesV1(texts) : devicesV2(texts.get('io.stat')),
    hugePages: parseHugePages(version, texts),
  };
}

/** `max` and what is not a number are undefined. */
function number(text: string | undefined): bigint | undefined {
  const digits = text?.trim() ?? '';
  return /^\d+$/.test(digits) ? BigInt(digits) : undefined;
}

/** A line `name value` of a flat file. */
function field(text: string | undefined, name: string): bigint | undefined {
  if (text === undefined) return undefined;
  const at = text.startsWith(`${name} `) ? 0 : text.indexOf(`\n${name} `) + 1;
  if (at === 0 && !text.startsWith(`${name} `)) return undefined;
  const end = text.indexOf('\n', at);
  return number(text.slice(at + name.length + 1, end === -1 ? undefined : end));
}

function cpuV1(texts: Texts): CpuStats | undefined {
  const usage = number(texts.get('cpuacct.usage'));
  if (usage === undefined) return undefined;
  const stat = texts.get('cpu.stat');
  return {
    usage,
    user: number(texts.get('cpuacct.usage_user')),
    system: number(texts.get('cpuacct.usage_sys')),
    periods: field(stat, 'nr_periods'),
    throttledPeriods: field(stat, 'nr_throttled'),
    throttled: field(stat, 'throttled_time'),
  };
}

const microseconds = (text: string | undefined, name: string): bigint | undefined => {
  const value = field(text, name);
  return value === undefined ? undefined : value * 1000n;
};

function cpuV2(texts: Texts): CpuStats | undefined {
  const stat = texts.get('cpu.stat');
  const usage = microseconds(stat, 'usage_usec');
  if (usage === undefined) return undefined;
  return {
    usage,
    user: microseconds(stat, 'user_usec'),
    system: microseconds(stat, 'system_usec'),
    periods: field(stat, 'nr_periods'),
    throttledPeriods: field(stat, 'nr_throttled'),
    throttled: microseconds(stat, 'throttled_usec'),
  };
}

/** Without a limit v1 shows the largest number of pages. */
const UNLIMITED = 2n ** 62n;
const limited = (value: bigint | undefined): bigint | undefined =>
  value !== undefined && value < UNLIMITED ? value : undefined;
const less = (value: bigint, part: bigint): bigint => (value > part ? value - part : 0n);

function memoryV1(texts: Texts): MemoryStats | undefined {
  const usage = number(texts.get('memory.usage_in_bytes'));
  const stat = texts.get('memory.stat');
  if (usage === undefined || stat === undefined) return undefined;
  const of = (name: string): bigint => field(stat, `total_${name}`) ?? 0n;
  const limit = limited(number(texts.get('memory.limit_in_bytes')));
  const both = limited(number(texts.get('memory.memsw.limit_in_bytes')));
  return {
    usage,
    workingSet: less(usage, of('inactive_file')),
    rss: of('rss'),
    cache: of('cache'),
    mapped: of('mapped_file'),
    swap: of('swap'),
    faults: of('pgfault'),
    majorFaults: of('pgmajfault'),
    limit,
    swapLimit: both !== undefined && limit !== undefined ? less(both, limit) : undefined,
    kernel: number(texts.get('memory.kmem.usage_in_bytes')),
    peak: number(texts.get('memory.max_usage_in_bytes')),
    failures: number(texts.get('memory.failcnt')),
  };
}

function memoryV2(texts: Texts): MemoryStats | undefined {
  const usage = number(texts.get('memory.current'));
  const stat = texts.get('memory.stat');
  if (usage === undefined || stat === undefined) return undefined;
  const of = (name: string): bigint => field(stat, name) ?? 0n;
  return {
    usage,
    workingSet: less(usage, of('inactive_file')),
    rss: of('anon'),
    cache: of('file'),
    mapped: of('file_mapped'),
    swap: number(texts.get('memory.swap.current')) ?? 0n,
    faults: of('pgfault'),
    majorFaults: of('pgmajfault'),
    limit: number(texts.get('memory.max')),
    swapLimit: number(texts.get('memory.swap.max')),
    kernel: field(stat, 'kernel') ?? field(stat, 'slab'),
    peak: number(texts.get('memory.peak')),
    failures: field(texts.get('memory.events'), 'max'),
  };
}

/** `some avg10=0.00 avg60=0.00 avg300=0.00 total=0` and the same with `full`. */
export function parsePressure(text: string | undefined): PressurePair | undefined {
  if (text === undefined) return undefined;
  const line = (word: string): Pressure | undefined => {
    const found = new RegExp(
      `^${word} avg10=([\\d.]+) avg60=([\\d.]+) avg300=([\\d.]+) total=(\\d+)$`,
      'm',
    ).exec(text);
    if (!found) return undefined;
    const [avg10 = 0, avg60 = 0, avg300 = 0] = found.slice(1, 4).map(Number);
    return { avg10, avg60, avg300, total: BigInt(found[4] ?? '0') };
  };
  const some = line('some');
  // For the CPU older kernels write `some` alone.
  return some && { some, full: line('full') ?? { avg10: 0, avg60: 0, avg300: 0, total: 0n } };
}

/** Lines `8:0 Read 4096`; the last line is a total without a device. */
function devicesV1(texts: Texts): DeviceStats[] {
  const counts = new Map<string, Record<'Read' | 'Write', [bytes: bigint, operations: bigint]>>();
  for (const [index, file] of ['io_service_bytes_recursive', 'io_serviced_recursive'].entries()) {
    const text = texts.get(`blkio.throttle.${file}`) ?? '';
    for (const [, device = '', act, value = '0'] of text.matchAll(/^(\d+:\d+) (Read|Write) (\d+)$/gm)) {
      const entry = counts.get(device) ?? { Read: [0n, 0n], Write: [0n, 0n] };
      entry[act as 'Read' | 'Write'][index] = BigInt(value);
      counts.set(device, entry);
    }
  }
  return [...counts].map(([device, { Read, Write }]) => ({
    device,
    readBytes: Read[0],
    writtenBytes: Write[0],
    reads: Read[1],
    writes: Write[1],
  }));
}

/** Lines `8:0 rbytes=1 wbytes=2 rios=3 wios=4 …`; a device without statistics has a line without pairs. */
function devicesV2(text = ''): DeviceStats[] {
  return [...text.matchAll(/^(\d+:\d+)( .*=.*)$/gm)].map(([, device = '', pairs = '']) => {
    const of = (name: string): bigint => BigInt(new RegExp(` ${name}=(\\d+)(?: |$)`).exec(pairs)?.[1] ?? '0');
    return {
      device,
      readBytes: of('rbytes'),
      writtenBytes: of('wbytes'),
      reads: of('rios'),
      writes: of('wios'),
    };
  });
}
