/** Resources as messages: what the kubelet asks, what a specification has, what plugins have changed. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedDeviceRule, ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { OciSpec } from '#runtime-service/index.ts';

/** As in a specification; one that was read from its file has numbers where they are exact. */
type Integer = bigint | number;

/** An optional value of a message, where there is one. */
export const optional = <T>(value: T | undefined): { readonly value: T } | undefined =>
  value === undefined ? undefined : { value };

const integer = (value: Integer | undefined): { readonly value: bigint } | undefined =>
  value === undefined ? undefined : { value: BigInt(value) };

/** CRI has no absent numbers: 0 is not set. */
const unlessZero = (value: bigint): { readonly value: bigint } | undefined =>
  value === 0n ? undefined : { value };

/** The message without its absent fields; undefined where nothing is left. */
function unlessEmpty<T extends object>(message: T): T | undefined {
  const present = Object.entries(message).filter(([, value]) => isPresent(value));
  return present.length > 0 ? (Object.fromEntries(present) as T) : undefined;
}

function isPresent(value: unknown): boolean {
  if (value === undefined || value === '') return false;
  return typeof value !== 'object' || value === null || Object.keys(value).length > 0;
}

/** What the kubelet asks of a container or a pod; undefined where nothing is set. */
export const resourcesMessage = (wanted: LinuxResources): nri.LinuxResourcesInit | undefined =>
  unlessEmpty<nri.LinuxResourcesInit>({
    memory: unlessEmpty<nri.LinuxMemoryInit>({
      limit: unlessZero(wanted.memoryLimitBytes),
      swap: unlessZero(wanted.memorySwapLimitBytes),
    }),
    cpu: unlessEmpty<nri.LinuxCPUInit>({
      shares: unlessZero(wanted.cpuShares),
      quota: unlessZero(wanted.cpuQuota),
      period: unlessZero(wanted.cpuPeriod),
      cpus: wanted.cpusetCpus,
      mems: wanted.cpusetMems,
    }),
    hugepageLimits: wanted.hugepageLimits,
    unified: wanted.unified,
  });

type OciResources = OciSpec['linux']['resources'];

/** The resources of a specification. */
export const specResources = (oci: OciResources): nri.LinuxResourcesInit | undefined =>
  unlessEmpty<nri.LinuxResourcesInit>({
    memory: oci.memory && unlessEmpty<nri.LinuxMemoryInit>(memoryOf(oci.memory)),
    cpu: oci.cpu && unlessEmpty<nri.LinuxCPUInit>(cpuOf(oci.cpu)),
    hugepageLimits: oci.hugepageLimits?.map(({ pageSize, limit }) => ({ pageSize, limit: BigInt(limit) })),
    unified: oci.unified,
    devices: oci.devices?.map(deviceRuleMessage),
    pids: oci.pids && { limit: BigInt(oci.pids.limit) },
  });

const memoryOf = (memory: NonNullable<ResourceChanges['memory']>): nri.LinuxMemoryInit => ({
  limit: integer(memory.limit),
  reservation: integer(memory.reservation),
  swap: integer(memory.swap),
  kernel: integer(memory.kernel),
  kernelTcp: integer(memory.kernelTcp),
  swappiness: integer(memory.swappiness),
  disableOomKiller: optional(memory.disableOomKiller),
  useHierarchy: optional(memory.useHierarchy),
});

const cpuOf = (cpu: NonNullable<ResourceChanges['cpu']>): nri.LinuxCPUInit => ({
  shares: integer(cpu.shares),
  quota: integer(cpu.quota),
  period: integer(cpu.period),
  realtimeRuntime: integer(cpu.realtimeRuntime),
  realtimePeriod: integer(cpu.realtimePeriod),
  cpus: cpu.cpus,
  mems: cpu.mems,
});

export const deviceRuleMessage = (
  rule: Omit<AdjustedDeviceRule, 'type' | 'access'> & { readonly type?: string; readonly access?: string },
): nri.LinuxDeviceCgroupInit => ({
  allow: rule.allow,
  type: rule.type,
  major: integer(rule.major),
  minor: integer(rule.minor),
  access: rule.access,
});

/** What plugins change, over what there is. Absent changes leave all as it is. */
export function withChanges(
  base: nri.LinuxResourcesInit | undefined,
  changes: ResourceChanges,
): nri.LinuxResourcesInit | undefined {
  const { memory, cpu, hugepageLimits = {}, unified, blockioClass, rdtClass, pids } = changes;
  return unlessEmpty<nri.LinuxResourcesInit>({
    ...base,
    memory: memory ? { ...base?.memory, ...present(memoryOf(memory)) } : base?.memory,
    cpu: cpu ? { ...base?.cpu, ...present(cpuOf(cpu)) } : base?.cpu,
    hugepageLimits: [
      ...(base?.hugepageLimits ?? []).filter(({ pageSize = '' }) => !Object.hasOwn(hugepageLimits, pageSize)),
      ...Object.entries(hugepageLimits).map(([pageSize, limit]) => ({ pageSize, limit })),
    ],
    unified: unified ? { ...base?.unified, ...unified } : base?.unified,
    blockioClass: optional(blockioClass) ?? base?.blockioClass,
    rdtClass: optional(rdtClass) ?? base?.rdtClass,
    pids: pids === undefined ? base?.pids : { limit: pids },
  });
}

/** Without the fields that are undefined: they would hide others in a spread. */
const present = <T extends object>(message: T): Partial<T> =>
  Object.fromEntries(Object.entries(message).filter(([, value]) => value !== undefined)) as Partial<T>;
