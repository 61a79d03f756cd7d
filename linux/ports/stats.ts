/**
 * What groups, network namespaces, processes and trees use, as the kernel counts it. All is read off the main thread,
 * many files in one request: on it, five hundred small reads cost 2 ms at a stretch, and five times that through libuv's pool.
 *
 * A value that the kernel does not report (a controller that is not mounted, PSI switched off) is undefined.
 */
import type { ProcessRef } from './process.ts';

/** One line of a PSI file: averages in percent, the total in microseconds. */
export interface Pressure {
  readonly total: bigint;
  readonly avg10: number;
  readonly avg60: number;
  readonly avg300: number;
}

export interface PressurePair {
  /** At least one task waited. */
  readonly some: Pressure;
  /** All tasks waited. */
  readonly full: Pressure;
}

/** CPU time in nanoseconds since the group was made. */
export interface CpuStats {
  readonly usage: bigint;
  readonly user: bigint | undefined;
  readonly system: bigint | undefined;
  readonly periods: bigint | undefined;
  readonly throttledPeriods: bigint | undefined;
  readonly throttled: bigint | undefined;
}

/** Bytes, but for the counts. */
export interface MemoryStats {
  readonly usage: bigint;
  /** Usage without the file pages that the kernel would drop first. */
  readonly workingSet: bigint;
  /** Anonymous memory. */
  readonly rss: bigint;
  readonly cache: bigint;
  readonly mapped: bigint;
  readonly swap: bigint;
  readonly faults: bigint;
  readonly majorFaults: bigint;
  /** The group's own limit; undefined: none. */
  readonly limit: bigint | undefined;
  /** Limit of swap alone; undefined: none, or swap is not counted. */
  readonly swapLimit: bigint | undefined;
  readonly kernel: bigint | undefined;
  readonly peak: bigint | undefined;
  /** How often the limit was met. */
  readonly failures: bigint | undefined;
}

/** Bytes and operations of one device, since the group was made. */
export interface DeviceStats {
  /** `major:minor`. */
  readonly device: string;
  readonly readBytes: bigint;
  readonly writtenBytes: bigint;
  readonly reads: bigint;
  readonly writes: bigint;
}

/** Bytes of huge pages of one size. */
export interface HugePageStats {
  /** `2MB`. */
  readonly pageSize: string;
  readonly usage: bigint;
  /** undefined in version 2 of cgroups, which does not keep it. */
  readonly peak: bigint | undefined;
}

export interface CgroupStats {
  /** Nanoseconds since the epoch. */
  readonly at: bigint;
  /** The same moment by a clock that never steps: nanoseconds since any point, for rates. */
  readonly steady: bigint;
  readonly cpu: CpuStats | undefined;
  readonly memory: MemoryStats | undefined;
  readonly pressure: {
    readonly cpu: PressurePair | undefined;
    readonly memory: PressurePair | undefined;
    readonly io: PressurePair | undefined;
  };
  /** Threads, those of the groups below among them. */
  readonly threads: bigint | undefined;
  readonly threadsMax: bigint | undefined;
  readonly oomKills: bigint | undefined;
  readonly devices: readonly DeviceStats[];
  /** With `metrics`, where the controller is there. */
  readonly hugePages: readonly HugePageStats[];
}

/** Counters of a link since it was made, as those inside its namespace see it. */
export interface LinkStats {
  readonly name: string;
  readonly received: LinkCounters;
  readonly sent: LinkCounters;
}

export interface LinkCounters {
  readonly bytes: bigint;
  readonly packets: bigint;
  readonly errors: bigint;
  readonly dropped: bigint;
}

export interface ProcessStats {
  /** Processes of the group and below. */
  readonly processes: number;
  /** Open descriptors of all of them; 0 where they were not requested. */
  readonly descriptors: number;
  /** Those of the descriptors that are sockets. */
  readonly sockets: number;
}

/** What a tree takes on its own file system. */
export interface TreeUsage {
  readonly bytes: bigint;
  readonly inodes: bigint;
}

/** `metrics` also reads what only the Prometheus metrics need: twice as many files. */
export type UsageDetail = 'stats' | 'metrics';

export interface Usage {
  /** Of each cgroup, in order; undefined for one that is gone. */
  groups(paths: readonly string[], detail: UsageDetail): Promise<readonly (CgroupStats | undefined)[]>;
  /** The links that each process sees, loopback among them; none for a process that is gone. */
  links(processes: readonly ProcessRef[]): Promise<readonly (readonly LinkStats[])[]>;
  /** The soft limit of open files of each process; undefined: none, or the process is gone. */
  openFiles(processes: readonly ProcessRef[]): Promise<readonly (bigint | undefined)[]>;
  /** Of each cgroup, in order. `descriptors` counts those of 1024 processes of each, and sockets among the first 4096. */
  processes(paths: readonly string[], descriptors: boolean): Promise<readonly ProcessStats[]>;
  /**
   * Walks a tree in slices of a few milliseconds with rests between them. Follows no link, enters no other file system;
   * names that appear or vanish meanwhile may or may not count. A missing path uses nothing. Rejects at the abort.
   */
  tree(path: string, signal: AbortSignal): Promise<TreeUsage>;
}
