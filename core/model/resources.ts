/** Of /proc/PID/oom_score_adj, and its negative the least: proc(5). */
export const MAX_OOM_SCORE_ADJ = 1000;

/** CRI's LinuxContainerResources, of a container or of a pod as a whole. 0 or an empty text: not set, as on the wire. */
export interface LinuxResources {
  /** Microseconds. */
  readonly cpuPeriod: bigint;
  /** Microseconds in each period; -1: no limit. */
  readonly cpuQuota: bigint;
  readonly cpuShares: bigint;
  readonly memoryLimitBytes: bigint;
  /** Of memory and swap together (cgroup v1's sense). */
  readonly memorySwapLimitBytes: bigint;
  readonly oomScoreAdj: bigint;
  readonly cpusetCpus: string;
  readonly cpusetMems: string;
  readonly hugepageLimits: readonly { readonly pageSize: string; readonly limit: bigint }[];
  /** cgroup v2 files by name; they win over the typed fields. */
  readonly unified: Readonly<Record<string, string>>;
}

/** Resources of which nothing is set: no limits. */
export const noResources: LinuxResources = {
  cpuPeriod: 0n,
  cpuQuota: 0n,
  cpuShares: 0n,
  memoryLimitBytes: 0n,
  memorySwapLimitBytes: 0n,
  oomScoreAdj: 0n,
  cpusetCpus: '',
  cpusetMems: '',
  hugepageLimits: [],
  unified: {},
};
