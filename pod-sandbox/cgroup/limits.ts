/**
 * The limits of a pod cgroup that crisp makes itself: what the containers may use together (`resources`) and what the
 * sandbox itself costs (`overhead`), added up. Never applied to a kubelet's cgroup.
 */
import type { LinuxResources } from '#core/model/resources.ts';
import type { CgroupVersion } from '#linux/ports/kernel.ts';
import { cpuWeight, type Limit } from '#linux/systemd/unit-properties.ts';
import type { SandboxLinux } from '../config.ts';

/** The kernel's default period, microseconds. */
const PERIOD = 100_000n;

type Amounts = Pick<LinuxResources, 'cpuPeriod' | 'cpuQuota' | 'cpuShares' | 'memoryLimitBytes'>;

/** Control files and values in the order in which they are to be written. */
export function podLimits({ resources, overhead }: SandboxLinux, version: CgroupVersion): Limit[] {
  const total = sum(resources, overhead);
  const limits = version === 2 ? limitsV2(total) : limitsV1(total);
  if (resources?.cpusetCpus) limits.push({ file: 'cpuset.cpus', value: resources.cpusetCpus });
  if (resources?.cpusetMems) limits.push({ file: 'cpuset.mems', value: resources.cpusetMems });
  if (version === 1) return limits;
  const unified = Object.entries(resources?.unified ?? {}).map(([file, value]) => ({ file, value }));
  const named = new Set(unified.map(({ file }) => file));
  return [...limits.filter(({ file }) => !named.has(file)), ...unified];
}

/** The content of a file without a limit. */
const UNLIMITED: Readonly<Record<string, string>> = {
  'cpu.shares': '1024',
  'cpu.cfs_quota_us': '-1',
  'memory.limit_in_bytes': '-1',
  'cpu.weight': '100',
  'cpu.max': 'max 100000',
  'memory.max': 'max',
};

/** The files to write so that the limits of `after` are in force; one that `before` had and `after` has not is lifted. */
export function changedLimits(
  before: SandboxLinux | undefined,
  after: SandboxLinux,
  version: CgroupVersion,
): Limit[] {
  const limits = podLimits(after, version);
  const named = new Set(limits.map(({ file }) => file));
  const lifted = (before ? podLimits(before, version) : []).flatMap(({ file }) => {
    const value = UNLIMITED[file];
    return named.has(file) || value === undefined ? [] : [{ file, value }];
  });
  return [...lifted, ...limits];
}

/** The limits in the form of v2, which systemd takes on either version; the keys of `unified` are only for v2. */
export function sliceLimits(linux: SandboxLinux, version: CgroupVersion): Limit[] {
  const { resources } = linux;
  const typed = version === 1 && resources ? { ...linux, resources: { ...resources, unified: {} } } : linux;
  return podLimits(typed, 2);
}

/** Overhead without a limit of its own to add to (0: unlimited) makes no limit. */
function sum(resources: LinuxResources | undefined, overhead: LinuxResources | undefined): Amounts {
  const cpuPeriod = resources?.cpuPeriod || PERIOD;
  const quotaOfOverhead =
    overhead && overhead.cpuQuota > 0n
      ? (overhead.cpuQuota * cpuPeriod) / (overhead.cpuPeriod || PERIOD)
      : 0n;
  const plus = (of: bigint | undefined, more: bigint | undefined): bigint =>
    of !== undefined && of > 0n ? of + (more ?? 0n) : 0n;
  return {
    cpuPeriod,
    cpuQuota: plus(resources?.cpuQuota, quotaOfOverhead),
    cpuShares: plus(resources?.cpuShares, overhead?.cpuShares),
    memoryLimitBytes: plus(resources?.memoryLimitBytes, overhead?.memoryLimitBytes),
  };
}

function limitsV1({ cpuPeriod, cpuQuota, cpuShares, memoryLimitBytes }: Amounts): Limit[] {
  const limits: Limit[] = [];
  if (cpuShares > 0n) limits.push({ file: 'cpu.shares', value: `${cpuShares}` });
  if (cpuQuota > 0n) {
    limits.push({ file: 'cpu.cfs_period_us', value: `${cpuPeriod}` });
    limits.push({ file: 'cpu.cfs_quota_us', value: `${cpuQuota}` });
  }
  if (memoryLimitBytes > 0n) limits.push({ file: 'memory.limit_in_bytes', value: `${memoryLimitBytes}` });
  return limits;
}

function limitsV2({ cpuPeriod, cpuQuota, cpuShares, memoryLimitBytes }: Amounts): Limit[] {
  const limits: Limit[] = [];
  if (cpuShares > 0n) limits.push({ file: 'cpu.weight', value: `${cpuWeight(cpuShares)}` });
  if (cpuQuota > 0n) limits.push({ file: 'cpu.max', value: `${cpuQuota} ${cpuPeriod}` });
  if (memoryLimitBytes > 0n) limits.push({ file: 'memory.max', value: `${memoryLimitBytes}` });
  return limits;
}
