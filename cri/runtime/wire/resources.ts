/** CRI LinuxContainerResources, of a container or of a whole pod → the services' type. */
import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import type { LinuxResources } from '#core/model/resources.ts';

export const linuxResources = (wanted: cri.LinuxContainerResources): LinuxResources => ({
  cpuPeriod: toBigInt(wanted.cpuPeriod),
  cpuQuota: toBigInt(wanted.cpuQuota),
  cpuShares: toBigInt(wanted.cpuShares),
  memoryLimitBytes: toBigInt(wanted.memoryLimitInBytes),
  memorySwapLimitBytes: toBigInt(wanted.memorySwapLimitInBytes),
  oomScoreAdj: toBigInt(wanted.oomScoreAdj),
  cpusetCpus: wanted.cpusetCpus,
  cpusetMems: wanted.cpusetMems,
  hugepageLimits: wanted.hugepageLimits.map(({ pageSize, limit }) => ({ pageSize, limit: toBigInt(limit) })),
  unified: wanted.unified,
});
