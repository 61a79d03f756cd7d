/** Resources as messages: what the kubelet asks, what is in force, what plugins have changed. */
import type { nri } from '#api/nri/index.ts';
import type { AdjustedDeviceRule, ResourceChanges } from '#core/model/adjustment.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { ContainerRecord, OciSpec } from '#runtime-service/index.ts';

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

/** By the names of the OCI runtime specification; all but the first three are set by plugins alone. */
interface SpecMemory extends Omit<MemoryLimits, 'kernelTcp' | 'disableOomKiller'> {
  readonly kernelTCP?: Integer;
  readonly disableOOMKiller?: boolean;
}

interface MemoryLimits {
  readonly limit?: Integer;
  readonly reservation?: Integer;
  readonly swap?: Integer;
  readonly kernel?: Integer;
  readonly kernelTcp?: Integer | undefined;
  readonly swappiness?: Integer;
  readonly disableOomKiller?: boolean | undefined;
  readonly useHierarchy?: boolean;
}

/** The resources of a specification. */
export const specResources = (oci: OciResources): nri.LinuxResourcesInit | undefined =>
  unlessEmpty<nri.LinuxResourcesInit>({
    memory: oci.memory && unlessEmpty(specMemory(oci.memory)),
    cpu: oci.cpu && unlessEmpty(cpuMessage(oci.cpu)),
    hugepageLimits: oci.hugepageLimits?.map(({ pageSize, limit }) => ({ pageSize, limit: BigInt(limit) })),
    unified: oci.unified,
    devices: oci.devices?.map(deviceRuleMessage),
    pids: oci.pids && { limit: BigInt(oci.pids.limit) },
  });

const specMemory = ({ kernelTCP, disableOOMKiller, ...memory }: SpecMemory): nri.LinuxMemoryInit =>
  memoryMessage({ ...memory, kernelTcp: kernelTCP, disableOomKiller: disableOOMKiller });

const memoryMessage = (memory: MemoryLimits): nri.LinuxMemoryInit => ({
  limit: integer(memory.limit),
  reservation: integer(memory.reservation),
  swap: integer(memory.swap),
  kernel: integer(memory.kernel),
  kernelTcp: integer(memory.kernelTcp),
  swappiness: integer(memory.swappiness),
  disableOomKiller: optional(memory.disableOomKiller),
  useHierarchy: optional(memory.useHierarchy),
});

const cpuMessage = (cpu: NonNullable<ResourceChanges['cpu']>): nri.LinuxCPUInit => ({
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
export const withChanges = (
  base: nri.LinuxResourcesInit | undefined,
  { memory, cpu, hugepageLimits, unified, blockioClass, rdtClass, pids }: ResourceChanges,
): nri.LinuxResourcesInit | undefined =>
  over(base, {
    memory: memory && memoryMessage(memory),
    cpu: cpu && cpuMessage(cpu),
    hugepageLimits: Object.entries(hugepageLimits ?? {}).map(([pageSize, limit]) => ({ pageSize, limit })),
    unified,
    blockioClass: optional(blockioClass),
    rdtClass: optional(rdtClass),
    pids: pids === undefined ? undefined : { limit: pids },
  });

/** One message over another: each limit of `top` in the place of the same one. Rules for devices stay those of `base`. */
function over(
  base: nri.LinuxResourcesInit | undefined,
  top: nri.LinuxResourcesInit | undefined,
): nri.LinuxResourcesInit | undefined {
  const sizes = new Set(top?.hugepageLimits?.map(({ pageSize }) => pageSize));
  return unlessEmpty<nri.LinuxResourcesInit>({
    ...base,
    memory: { ...base?.memory, ...present(top?.memory) },
    cpu: { ...base?.cpu, ...present(top?.cpu) },
    hugepageLimits: [
      ...(base?.hugepageLimits ?? []).filter(({ pageSize }) => !sizes.has(pageSize)),
      ...(top?.hugepageLimits ?? []),
    ],
    unified: { ...base?.unified, ...top?.unified },
    blockioClass: top?.blockioClass ?? base?.blockioClass,
    rdtClass: top?.rdtClass ?? base?.rdtClass,
    pids: top?.pids ?? base?.pids,
  });
}

/** Those in force: a specification is that of the creation, and the record has what updates have changed since. */
export const resourcesInForce = (
  oci: OciResources | undefined,
  record: Pick<ContainerRecord, 'resources' | 'otherLimits'>,
): nri.LinuxResourcesInit | undefined =>
  over(
    over(oci && specResources(oci), resourcesMessage(record.resources)),
    othersMessage(record.otherLimits),
  );

const othersMessage = ({ pids, ...others }: ContainerRecord['otherLimits'] = {}): nri.LinuxResourcesInit => ({
  memory: memoryMessage(others),
  cpu: cpuMessage(others),
  blockioClass: optional(others.blockioClass),
  rdtClass: optional(others.rdtClass),
  pids: pids === undefined ? undefined : { limit: pids },
});

/** Without the fields that are undefined or empty: they would hide others in a spread. */
const present = <T extends object>(message: T | undefined): Partial<T> =>
  (message && unlessEmpty(message)) ?? {};
