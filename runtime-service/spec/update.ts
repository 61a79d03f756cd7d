/** How limits change: the merge of a client's request into those in force, and the OCI runtime's document. Pure. */

import { CrispError } from '#core/errors.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { OciResources } from './oci.ts';
import { ociResources, type ResourceHost } from './resources.ts';

const PERIOD = 100_000n;
const SHARES = 1024n;
const UNLIMITED = -1n;

/**
 * The limits in force, overridden by the requested ones; 0 and empty mean no change. A memory limit that is raised takes the
 * limit of memory and swap along where that would fall below it, or was equal to the memory limit: no swap stays no swap.
 */
export function mergeResources(now: LinuxResources, wanted: LinuxResources): LinuxResources {
  const memoryLimitBytes = wanted.memoryLimitBytes || now.memoryLimitBytes;
  const pages = new Map(now.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit]));
  for (const { pageSize, limit } of wanted.hugepageLimits) pages.set(pageSize, limit);
  return {
    cpuPeriod: wanted.cpuPeriod || now.cpuPeriod,
    cpuQuota: wanted.cpuQuota || now.cpuQuota,
    cpuShares: wanted.cpuShares || now.cpuShares,
    memoryLimitBytes,
    memorySwapLimitBytes: wanted.memorySwapLimitBytes || swapLimit(now, memoryLimitBytes),
    oomScoreAdj: now.oomScoreAdj,
    cpusetCpus: wanted.cpusetCpus || now.cpusetCpus,
    cpusetMems: wanted.cpusetMems || now.cpusetMems,
    hugepageLimits: [...pages].map(([pageSize, limit]) => ({ pageSize, limit })),
    unified: { ...now.unified, ...wanted.unified },
  };
}

function swapLimit({ memoryLimitBytes, memorySwapLimitBytes }: LinuxResources, limit: bigint): bigint {
  if (memorySwapLimitBytes <= 0n || limit === 0n) return memorySwapLimitBytes;
  if (limit < 0n) return UNLIMITED;
  const follows = memorySwapLimitBytes === memoryLimitBytes || memorySwapLimitBytes < limit;
  return follows ? limit : memorySwapLimitBytes;
}

const LIST = /^(\d+(-\d+)?)(,\d+(-\d+)?)*$/;

/** Checks what is not checked where the limits become the runtime's. Throws InvalidArgument. */
export function checkUpdate({ cpusetCpus, cpusetMems, hugepageLimits }: LinuxResources): void {
  const refuse = (what: string, hint: string): never => {
    throw new CrispError('InvalidArgument', what, { hint });
  };
  for (const [name, list] of Object.entries({ cpuset_cpus: cpusetCpus, cpuset_mems: cpusetMems })) {
    if (list !== '' && !LIST.test(list))
      refuse(`${name} ${JSON.stringify(list)} is not a list`, 'write 0-3,8');
  }
  const negative = hugepageLimits.find(({ limit }) => limit < 0n);
  if (negative)
    refuse(`hugepage limit ${negative.limit} of ${negative.pageSize} is negative`, 'use 0 for none');
}

/** What the runtime's update reads. A limit that `before` had and that is no longer set is named as its default. */
export function updateDocument(
  resources: LinuxResources,
  before: LinuxResources,
  host: UpdateHost,
): OciResources {
  const filled: LinuxResources = {
    ...resources,
    cpuShares: resources.cpuShares || (before.cpuShares ? SHARES : 0n),
    cpuPeriod: resources.cpuPeriod || (before.cpuPeriod ? PERIOD : 0n),
    memoryLimitBytes: resources.memoryLimitBytes || (before.memoryLimitBytes ? UNLIMITED : 0n),
    memorySwapLimitBytes: resources.memorySwapLimitBytes || (before.memorySwapLimitBytes ? UNLIMITED : 0n),
  };
  const { memory, cpu } = ociResources(filled, host);
  const quota = isQuotaLifted(resources, before) ? { quota: UNLIMITED } : {};
  const written = { ...cpu, ...(host.writesNoQuota ? {} : quota) };
  return { ...(memory ? { memory } : {}), ...(Object.keys(written).length > 0 ? { cpu: written } : {}) };
}

const isQuotaLifted = ({ cpuQuota }: LinuxResources, before: LinuxResources): boolean =>
  cpuQuota < 0n || (cpuQuota === 0n && before.cpuQuota !== 0n);

/** What limits are put in force with. */
export interface UpdateHost extends ResourceHost {
  /** The runtime cannot lift a CPU quota: crun on version 1 fails to write -1. */
  readonly writesNoQuota: boolean;
}

/** A control file of the container's cgroup and what is to be written to it. */
export interface ControlFile {
  readonly file: string;
  readonly value: string;
}

/** What the runtimes' update leaves out: huge pages, and on version 2 the files that are named directly, which win. */
export function controlFiles(resources: LinuxResources, host: ResourceHost): ControlFile[] {
  const { hugepageLimits = [], unified = {} } = ociResources(resources, host);
  const ending = host.version === 2 ? 'max' : 'limit_in_bytes';
  return [
    ...hugepageLimits.map(({ pageSize, limit }) => ({
      file: `hugetlb.${pageSize}.${ending}`,
      value: `${limit}`,
    })),
    ...Object.entries(unified).map(([file, value]) => ({ file, value })),
  ];
}

/** The file of a quota that is no longer set, where the runtime cannot lift it. */
export const liftedQuota = (
  resources: LinuxResources,
  before: LinuxResources,
  { writesNoQuota }: UpdateHost,
): ControlFile[] =>
  writesNoQuota && isQuotaLifted(resources, before) ? [{ file: 'cpu.cfs_quota_us', value: '-1' }] : [];
