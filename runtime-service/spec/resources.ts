import { CrispError } from '#core/errors.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { CgroupVersion } from '#linux/ports/kernel.ts';
import type { OciResources } from './oci.ts';

export interface ResourceHost {
  readonly version: CgroupVersion;
  readonly controllers: ReadonlySet<string>;
  /** Whether the kernel counts swap (v1: memory.memsw files, v2: memory.swap.max). */
  readonly swap: boolean;
  /** Sizes that the host offers (`2MB`, `1GB`); others are left out, as the peers do. */
  readonly hugepageSizes: ReadonlySet<string>;
}

/**
 * CRI resources in the OCI's terms. Zero means unset. On v2 swap comes through `unified` alone (kubelet); the typed
 * field is memory plus swap as on v1, and the OCI runtime converts it where swap is counted at all.
 * Throws InvalidArgument for what no kernel can take.
 */
export function ociResources(wanted: LinuxResources, host: ResourceHost): OciResources {
  checkSigns(wanted);
  const resources: OciResources = {};
  const cpu: NonNullable<OciResources['cpu']> = {};
  if (wanted.cpuShares > 0n) cpu.shares = wanted.cpuShares;
  if (wanted.cpuPeriod > 0n) cpu.period = wanted.cpuPeriod;
  // No limit is what a new group has; crun on version 1 fails to write it.
  if (wanted.cpuQuota > 0n) cpu.quota = wanted.cpuQuota;
  if (wanted.cpusetCpus !== '') cpu.cpus = wanted.cpusetCpus;
  if (wanted.cpusetMems !== '') cpu.mems = wanted.cpusetMems;
  if (Object.keys(cpu).length > 0) resources.cpu = cpu;

  const memory = memoryOf(wanted, host);
  if (memory) resources.memory = memory;

  const pages = wanted.hugepageLimits.filter(({ pageSize }) => host.hugepageSizes.has(pageSize));
  if (pages.length > 0 && host.controllers.has('hugetlb')) resources.hugepageLimits = [...pages];

  const unified = Object.entries(wanted.unified);
  for (const [key, value] of unified) checkUnified(key, value);
  if (unified.length > 0 && host.version === 2) {
    for (const [key] of unified) checkController(key, host.controllers);
    resources.unified = Object.fromEntries(unified);
  }
  return resources;
}

function memoryOf(wanted: LinuxResources, host: ResourceHost): OciResources['memory'] {
  const { memoryLimitBytes: limit, memorySwapLimitBytes: swap } = wanted;
  if (limit > 0n && swap > 0n && swap < limit) {
    throw new CrispError(
      'InvalidArgument',
      `memory_swap_limit_in_bytes ${swap} is below the memory limit ${limit}`,
      {
        hint: 'it is the sum of memory and swap: make it at least the memory limit',
      },
    );
  }
  const memory = {
    ...(limit !== 0n ? { limit } : {}),
    ...(swap !== 0n && host.swap ? { swap } : {}),
  };
  return Object.keys(memory).length > 0 ? memory : undefined;
}

/** -1 is no limit where the kernel has such a thing; no other negative number means anything. */
function checkSigns(wanted: LinuxResources): void {
  const fields: readonly (readonly [name: string, value: bigint, least: bigint])[] = [
    ['cpu_period', wanted.cpuPeriod, 0n],
    ['cpu_quota', wanted.cpuQuota, -1n],
    ['cpu_shares', wanted.cpuShares, 0n],
    ['memory_limit_in_bytes', wanted.memoryLimitBytes, -1n],
    ['memory_swap_limit_in_bytes', wanted.memorySwapLimitBytes, -1n],
  ];
  for (const [name, value, least] of fields) {
    if (value >= least) continue;
    throw new CrispError('InvalidArgument', `${name} ${value} is negative`, { hint: 'use 0 for unset' });
  }
}

/** What is invalid on every node is refused also on version 1, where the keys have no effect. */
function checkUnified(key: string, value: string): void {
  // A key is a file's name in the cgroup's directory; the files of `cgroup.` move and kill, they do not limit.
  if (!/^(?!cgroup\.)[a-z0-9_]+(\.[A-Za-z0-9_]+)+$/.test(key)) {
    throw new CrispError(
      'InvalidArgument',
      `unified: ${JSON.stringify(key)} is not the name of a cgroup file with a limit`,
      { hint: 'use names such as memory.high' },
    );
  }
  if (/^[^\0\n]{1,256}$/.test(value)) return;
  throw new CrispError('InvalidArgument', `unified: the value of ${key} is not one line`, {
    hint: 'give one line of at most 256 characters',
  });
}

function checkController(key: string, controllers: ReadonlySet<string>): void {
  const controller = key.split('.')[0] ?? '';
  if (controllers.has(controller)) return;
  throw new CrispError(
    'FailedPrecondition',
    `unified: ${key}: this node has no ${controller} controller for cgroups`,
    { hint: `drop the key, or start the kernel with the controller (cgroup_enable=${controller})` },
  );
}
