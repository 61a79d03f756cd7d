/** Limits of a container for which CRI has no field: NRI plugins set them. Pure. */

import { CrispError } from '#core/errors.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { OciResources } from './oci.ts';
import { ociResources, type ResourceHost } from './resources.ts';

/** Absent: not set. Numbers as in `ResourceChanges`. */
export interface OtherLimits {
  readonly reservation?: bigint;
  readonly kernel?: bigint;
  readonly kernelTcp?: bigint;
  readonly swappiness?: bigint;
  readonly disableOomKiller?: boolean;
  readonly realtimeRuntime?: bigint;
  readonly realtimePeriod?: bigint;
  readonly pids?: bigint;
  readonly blockioClass?: string;
  readonly rdtClass?: string;
}

/** All limits of a container. */
export interface Limits {
  readonly resources: LinuxResources;
  readonly others: OtherLimits;
}

/** The limits with those changed that are named; 0 takes one away where the kernel has such a thing. */
export const changedLimits = ({ resources, others }: Limits, changes: ResourceChanges): Limits => ({
  resources: changedResources(resources, changes),
  others: changedOthers(others, changes),
});

function changedResources(
  now: LinuxResources,
  { memory = {}, cpu = {}, hugepageLimits = {}, unified = {} }: ResourceChanges,
): LinuxResources {
  const pages = new Map(now.hugepageLimits.map(({ pageSize, limit }) => [pageSize, limit]));
  for (const [size, limit] of Object.entries(hugepageLimits)) pages.set(size, limit);
  return {
    ...now,
    cpuPeriod: cpu.period ?? now.cpuPeriod,
    cpuQuota: cpu.quota ?? now.cpuQuota,
    cpuShares: cpu.shares ?? now.cpuShares,
    memoryLimitBytes: memory.limit ?? now.memoryLimitBytes,
    memorySwapLimitBytes: memory.swap ?? now.memorySwapLimitBytes,
    // An empty list would be no change for the OCI runtime.
    cpusetCpus: cpu.cpus || now.cpusetCpus,
    cpusetMems: cpu.mems || now.cpusetMems,
    hugepageLimits: [...pages].map(([pageSize, limit]) => ({ pageSize, limit })),
    unified: { ...now.unified, ...unified },
  };
}

function changedOthers(now: OtherLimits, changes: ResourceChanges): OtherLimits {
  const { memory = {}, cpu = {}, pids, blockioClass, rdtClass } = changes;
  const { reservation, kernel, kernelTcp, swappiness, disableOomKiller } = memory;
  const { realtimeRuntime, realtimePeriod } = cpu;
  const named = {
    reservation,
    kernel,
    kernelTcp,
    swappiness,
    disableOomKiller,
    realtimeRuntime,
    realtimePeriod,
    pids,
    blockioClass,
    rdtClass,
  };
  const set = Object.entries(named).filter(([, value]) => value !== undefined);
  return { ...now, ...Object.fromEntries(set) };
}

/** What puts limits in force. */
export interface LimitHost extends ResourceHost {
  /** runc ignores the limits of kernel memory. */
  readonly isCrun: boolean;
}

/** Why a change cannot be made here, by its field. */
export interface Impossible {
  readonly field: string;
  readonly why: string;
  readonly hint: string;
}

/** The first named change that this node or the OCI runtime would ignore, or that no kernel can take. */
export function impossibleChange(changes: ResourceChanges, host: LimitHost): Impossible | undefined {
  const { memory = {}, cpu = {}, pids, unified = {} } = changes;
  const drop = 'have the plugin leave it out on this node';
  const v1Only = 'cgroup version 2 has no such limit';
  const problems: (Impossible | false)[] = [
    ...(['kernel', 'kernelTcp'] as const).map(
      (name) =>
        memory[name] !== undefined &&
        (host.version === 2 || !host.isCrun) && {
          field: `memory.${name}`,
          why: host.version === 2 ? v1Only : 'runc ignores it',
          hint: drop,
        },
    ),
    memory.swappiness !== undefined &&
      host.version === 2 && { field: 'memory.swappiness', why: v1Only, hint: drop },
    outside('memory.swappiness', memory.swappiness, 0n, 100n),
    memory.disableOomKiller === true &&
      host.version === 2 && { field: 'memory.disableOomKiller', why: v1Only, hint: drop },
    memory.useHierarchy === false && {
      field: 'memory.useHierarchy',
      why: 'the kernel counts memory by hierarchy alone',
      hint: drop,
    },
    ...(['realtimeRuntime', 'realtimePeriod'] as const).map(
      (name) =>
        cpu[name] !== undefined && host.version === 2 && { field: `cpu.${name}`, why: v1Only, hint: drop },
    ),
    outside('memory.reservation', memory.reservation, -1n),
    outside('cpu.realtimeRuntime', cpu.realtimeRuntime, -1n),
    outside('cpu.realtimePeriod', cpu.realtimePeriod, 0n),
    outside('pids', pids, -1n),
    pids !== undefined &&
      !host.controllers.has('pids') && { field: 'pids', why: 'this node has no pids controller', hint: drop },
    Object.keys(unified).length > 0 &&
      host.version === 1 && { field: 'unified', why: 'cgroup version 1 has no unified files', hint: drop },
  ];
  return problems.find((problem) => problem !== false);
}

const outside = (
  field: string,
  value: bigint | undefined,
  least: bigint,
  most = 2n ** 63n - 1n,
): Impossible | false =>
  value !== undefined &&
  (value < least || value > most) && {
    field,
    why: `${value} is not possible`,
    hint: `use ${least} to ${most}`,
  };

/** Throws FailedPrecondition for what `impossibleChange` finds. */
export function checkChanges(changes: ResourceChanges, host: LimitHost): void {
  const found = impossibleChange(changes, host);
  if (!found) return;
  throw new CrispError('FailedPrecondition', `NRI: ${found.field}: ${found.why}`, { hint: found.hint });
}

/** All limits in the OCI's terms; see `ociResources`. The classes are applied elsewhere. */
export function limitResources({ resources, others }: Limits, host: ResourceHost): OciResources {
  const made = ociResources(resources, host);
  const { reservation = 0n, kernel = 0n, kernelTcp = 0n, swappiness, disableOomKiller } = others;
  const { realtimeRuntime = 0n, realtimePeriod = 0n, pids = 0n } = others;
  const memory = {
    ...made.memory,
    ...(reservation > 0n ? { reservation } : {}),
    ...(kernel > 0n ? { kernel } : {}),
    ...(kernelTcp > 0n ? { kernelTCP: kernelTcp } : {}),
    ...(swappiness === undefined ? {} : { swappiness }),
    ...(disableOomKiller ? { disableOOMKiller: true } : {}),
  };
  const cpu = {
    ...made.cpu,
    ...(realtimeRuntime > 0n ? { realtimeRuntime } : {}),
    ...(realtimePeriod > 0n ? { realtimePeriod } : {}),
  };
  return {
    ...made,
    ...(Object.keys(memory).length > 0 ? { memory } : {}),
    ...(Object.keys(cpu).length > 0 ? { cpu } : {}),
    ...(pids > 0n ? { pids: { limit: pids } } : {}),
  };
}

/** The control files of those that differ from `before`, in the order in which they are to be written. */
export function otherFiles(
  others: OtherLimits,
  version: ResourceHost['version'],
  before: OtherLimits = {},
): { readonly file: string; readonly value: string }[] {
  const files: { file: string; value: string }[] = [];
  const put = (name: keyof OtherLimits, file: string, text: (value: bigint) => string = String) => {
    const value = others[name];
    if (value === undefined || value === before[name]) return;
    files.push({ file, value: text(BigInt(value)) });
  };
  const noLimit = version === 2 ? 'max' : '-1';
  put('pids', 'pids.max', (value) => (value > 0n ? String(value) : 'max'));
  put('reservation', version === 2 ? 'memory.low' : 'memory.soft_limit_in_bytes', (value) =>
    value < 0n || (value === 0n && version === 1) ? noLimit : String(value),
  );
  if (version === 2) return files;
  const orNone = (value: bigint) => (value > 0n ? String(value) : noLimit);
  put('kernel', 'memory.kmem.limit_in_bytes', orNone);
  put('kernelTcp', 'memory.kmem.tcp.limit_in_bytes', orNone);
  put('swappiness', 'memory.swappiness');
  put('disableOomKiller', 'memory.oom_control');
  put('realtimePeriod', 'cpu.rt_period_us');
  put('realtimeRuntime', 'cpu.rt_runtime_us');
  return files;
}
