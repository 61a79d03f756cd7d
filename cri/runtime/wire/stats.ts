import { type cri, fromBigInt } from '#api/cri/v1/index.ts';
import type { CgroupStats, LinkStats, PressurePair, SandboxUsage } from '#pod-sandbox/index.ts';
import type { ContainerUsage } from '#runtime-service/index.ts';

const value = (amount: bigint): cri.UInt64ValueInit => ({ value: fromBigInt(amount) });
const optional = (amount: bigint | undefined): cri.UInt64ValueInit | null =>
  amount === undefined ? null : value(amount);

const psi = (pair: PressurePair | undefined): cri.PsiStatsInit | null =>
  pair ? { Full: psiData(pair.full), Some: psiData(pair.some) } : null;

const psiData = ({ total, avg10, avg60, avg300 }: PressurePair['some']): cri.PsiDataInit => ({
  Total: fromBigInt(total),
  Avg10: avg10,
  Avg60: avg60,
  Avg300: avg300,
});

/** What remains of a limit. */
const remaining = (limit: bigint | undefined, used: bigint): bigint | undefined =>
  limit === undefined ? undefined : limit > used ? limit - used : 0n;

interface GroupMessages {
  readonly cpu: cri.CpuUsageInit | null;
  readonly memory: cri.MemoryUsageInit | null;
  readonly io: cri.IoUsageInit | null;
  readonly swap: cri.SwapUsageInit | null;
}

function groupMessages(group: CgroupStats | undefined, nanoCores: bigint | undefined): GroupMessages {
  if (!group) return { cpu: null, memory: null, io: null, swap: null };
  const { cpu, memory, pressure } = group;
  const timestamp = fromBigInt(group.at);
  return {
    cpu: cpu
      ? {
          timestamp,
          usageCoreNanoSeconds: value(cpu.usage),
          usageNanoCores: optional(nanoCores),
          psi: psi(pressure.cpu),
        }
      : null,
    memory: memory
      ? {
          timestamp,
          workingSetBytes: value(memory.workingSet),
          availableBytes: optional(remaining(memory.limit, memory.workingSet)),
          usageBytes: value(memory.usage),
          rssBytes: value(memory.rss),
          pageFaults: value(memory.faults),
          majorPageFaults: value(memory.majorFaults),
          psi: psi(pressure.memory),
        }
      : null,
    io: pressure.io ? { timestamp, psi: psi(pressure.io) } : null,
    swap: memory
      ? {
          timestamp,
          swapUsageBytes: value(memory.swap),
          swapAvailableBytes: optional(remaining(memory.swapLimit, memory.swap)),
        }
      : null,
  };
}

/** A container's stats; `storage` is a directory on the file system of the writable layers. */
export function wireContainerStats(
  { record, group, nanoCores, layer }: ContainerUsage,
  storage: string,
): cri.ContainerStatsInit {
  const { cpu, memory, io, swap } = groupMessages(group, nanoCores);
  return {
    attributes: {
      id: record.id,
      metadata: record.metadata,
      labels: record.labels,
      annotations: record.annotations,
    },
    cpu,
    memory,
    io,
    swap,
    writableLayer: {
      // Clients read the file system's id also before the first usage is known.
      timestamp: fromBigInt(layer?.at ?? BigInt(Date.now()) * 1_000_000n),
      fsId: { mountpoint: storage },
      usedBytes: optional(layer?.bytes),
      inodesUsed: optional(layer?.inodes),
    },
  };
}

const wireLink = ({ name, received, sent }: LinkStats): cri.NetworkInterfaceUsageInit => ({
  name,
  rxBytes: value(received.bytes),
  rxErrors: value(received.errors),
  txBytes: value(sent.bytes),
  txErrors: value(sent.errors),
});

/** A pod's stats with those of its running containers. */
export function wireSandboxStats(
  { sandbox, group, nanoCores, links, processes, at }: SandboxUsage,
  containers: readonly cri.ContainerStatsInit[],
): cri.PodSandboxStatsInit {
  const { cpu, memory, io } = groupMessages(group, nanoCores);
  const timestamp = fromBigInt(at);
  const [first, ...others] = links;
  return {
    attributes: {
      id: sandbox.id,
      metadata: sandbox.config.metadata,
      labels: sandbox.config.labels,
      annotations: sandbox.config.annotations,
    },
    linux: {
      cpu,
      memory,
      io,
      network: first
        ? { timestamp, defaultInterface: wireLink(first), interfaces: others.map(wireLink) }
        : null,
      process: { timestamp, processCount: value(BigInt(processes)) },
      containers,
    },
  };
}
