/** What `crisp top` shows: usage of pods and containers, computed from the replies of two points in time. */
import type { DaemonStatus } from '#api/admin/contract.ts';
import { cri, toBigInt } from '#api/cri/v1/index.ts';

/** Replies of one point in time. */
export interface Replies {
  /** Of the ready pods with their running containers. */
  readonly stats: readonly cri.PodSandboxStats[];
  /** In all states. */
  readonly containers: readonly cri.Container[];
  /** Undefined where no admin socket replied: the runtime may be another one. */
  readonly daemon: DaemonStatus | undefined;
}

export interface Usage {
  readonly name: string;
  /** 100 is one core; absent without an earlier sample. */
  readonly cpuPercent?: number | undefined;
  /** The working set. */
  readonly memoryBytes?: number | undefined;
  /** CRI reports it for pods only. */
  readonly processes?: number | undefined;
  /** How many times the kubelet has replaced the container, which CRI calls its attempt; of a pod, the sum. */
  readonly restarts: number;
}

export interface ContainerUsage extends Usage {
  readonly id: string;
  readonly state: string;
}

export interface PodUsage extends Usage {
  readonly id: string;
  readonly namespace: string;
  /** The newest one of each name. */
  readonly containers: readonly ContainerUsage[];
}

export interface DaemonUsage {
  readonly version: string;
  readonly pid: number;
  readonly uptimeSeconds: number;
  readonly ready: boolean;
  /** Calls that are answered now. */
  readonly operations: number;
  readonly pulls: number;
  readonly troubles: number;
  readonly memoryBytes: number;
}

export interface Sample {
  readonly daemon?: DaemonUsage | undefined;
  readonly pods: readonly PodUsage[];
}

type Cpu = cri.CpuUsage | null | undefined;

/** The CPU counters of pods and containers by their ids. */
const countersOf = (replies: Replies | undefined): Map<string, Cpu> =>
  new Map(
    (replies?.stats ?? []).flatMap(({ attributes, linux }): [string, Cpu][] => [
      [attributes?.id ?? '', linux?.cpu],
      ...(linux?.containers ?? []).map((item): [string, Cpu] => [item.attributes?.id ?? '', item.cpu]),
    ]),
  );

/** Undefined where one of the two is absent, or a counter went back. */
function percent(before: Cpu, after: Cpu): number | undefined {
  if (!before?.usageCoreNanoSeconds || !after?.usageCoreNanoSeconds) return undefined;
  const span = Number(toBigInt(after.timestamp) - toBigInt(before.timestamp));
  const used = Number(
    toBigInt(after.usageCoreNanoSeconds.value) - toBigInt(before.usageCoreNanoSeconds.value),
  );
  return span > 0 && used >= 0 ? Number(((used * 100) / span).toFixed(2)) : undefined;
}

const numberOf = (value: cri.UInt64Value | null | undefined): number | undefined =>
  value ? Number(toBigInt(value.value)) : undefined;

const stateName = (state: number): string =>
  cri.ContainerState[state]?.replace('CONTAINER_', '').toLowerCase() ?? `state ${state}`;

const attemptOf = ({ metadata }: cri.Container): number => metadata?.attempt ?? 0;

/** The newest container of each name, by the pod: one that fails again and again is mostly not running. */
function newestByPod(containers: readonly cri.Container[]): Map<string, cri.Container[]> {
  const pods = new Map<string, Map<string, cri.Container>>();
  for (const container of containers) {
    const name = container.metadata?.name ?? '';
    const names = pods.get(container.podSandboxId) ?? new Map<string, cri.Container>();
    const known = names.get(name);
    if (!known || attemptOf(known) < attemptOf(container)) names.set(name, container);
    pods.set(container.podSandboxId, names);
  }
  return new Map([...pods].map(([pod, names]) => [pod, [...names.values()]]));
}

function daemonUsage({ daemon }: Replies): DaemonUsage | undefined {
  if (!daemon) return undefined;
  const { version, pid, uptimeSeconds, operations, pulls, troubles, memory, unready } = daemon;
  return {
    version,
    pid,
    uptimeSeconds,
    ready: unready === undefined,
    operations: operations.length,
    pulls: pulls.length,
    troubles: troubles.length,
    memoryBytes: memory.rssBytes,
  };
}

/** Usage at `now`; without `before` there is no CPU %. */
export function sampleOf(before: Replies | undefined, now: Replies): Sample {
  const [earlier, newest] = [countersOf(before), newestByPod(now.containers)];
  const pods = now.stats.map(({ attributes, linux }): PodUsage => {
    const id = attributes?.id ?? '';
    const running = new Map((linux?.containers ?? []).map((item) => [item.attributes?.id ?? '', item]));
    const containers = (newest.get(id) ?? []).map((container): ContainerUsage => {
      const stats = running.get(container.id);
      return {
        id: container.id,
        name: container.metadata?.name ?? '',
        state: stateName(container.state),
        cpuPercent: percent(earlier.get(container.id), stats?.cpu),
        memoryBytes: numberOf(stats?.memory?.workingSetBytes),
        restarts: attemptOf(container),
      };
    });
    return {
      id,
      namespace: attributes?.metadata?.namespace ?? '',
      name: attributes?.metadata?.name ?? '',
      cpuPercent: percent(earlier.get(id), linux?.cpu),
      memoryBytes: numberOf(linux?.memory?.workingSetBytes),
      processes: numberOf(linux?.process?.processCount),
      restarts: containers.reduce((sum, { restarts }) => sum + restarts, 0),
      containers,
    };
  });
  return { daemon: daemonUsage(now), pods };
}
