/** What a kubelet with the systemd driver does before it requests a pod: the slices, and the resources it requests. */
import type { cri } from '#api/cri/v1/index.ts';
import { fromBigInt } from '#api/cri/v1/index.ts';

export type QosClass = 'Guaranteed' | 'Burstable' | 'BestEffort';

export interface QosPod {
  readonly name: string;
  readonly qos: QosClass;
  /** Slices from the outermost to the pod's own. */
  readonly slices: readonly string[];
  /** In the form in which the kubelet sends it. */
  readonly cgroupParent: string;
  /** Of its one container; the pod has the same. Absent: none. */
  readonly milliCpuRequest: number;
  readonly milliCpuLimit: number | undefined;
  readonly memoryLimit: bigint | undefined;
  readonly pidsLimit: bigint;
}

const PERIOD = 100_000;
const MIB = 1n << 20n;

/** Two pods of each class, of different sizes. */
export function qosPods(): QosPod[] {
  return [
    pod('g1', 'Guaranteed', 500, 500, 128n * MIB, 1024n),
    pod('g2', 'Guaranteed', 250, 250, 64n * MIB, 512n),
    pod('b1', 'Burstable', 100, 200, 96n * MIB, 1024n),
    pod('b2', 'Burstable', 300, undefined, undefined, 2048n),
    pod('e1', 'BestEffort', 0, undefined, undefined, 1024n),
    pod('e2', 'BestEffort', 0, undefined, undefined, 1024n),
  ];
}

function pod(
  name: string,
  qos: QosClass,
  milliCpuRequest: number,
  milliCpuLimit: number | undefined,
  memoryLimit: bigint | undefined,
  pidsLimit: bigint,
): QosPod {
  const above = qos === 'Guaranteed' ? 'kubepods' : `kubepods-${qos.toLowerCase()}`;
  const uid = `00000000_0000_4000_8000_0000000000${name}`;
  const slices = [...new Set(['kubepods.slice', `${above}.slice`]), `${above}-pod${uid}.slice`];
  return {
    name,
    qos,
    slices,
    cgroupParent: `/${slices.join('/')}`,
    milliCpuRequest,
    milliCpuLimit,
    memoryLimit,
    pidsLimit,
  };
}

/** The least that cgroup v1 takes is 2. */
const shares = (milli: number): number => Math.max(2, Math.floor((milli * 1024) / 1000));
/** How cpu.weight comes of shares (KEP 2254). */
export const weight = (milli: number): number => 1 + Math.floor(((shares(milli) - 2) * 9999) / 262_142);
const quota = (milli: number): number => (milli * PERIOD) / 1000;

/** The kubelet's request for the container. */
export function containerResources(pod: QosPod): cri.LinuxContainerResourcesInit {
  const { milliCpuLimit: limit, memoryLimit } = pod;
  return {
    cpuShares: fromBigInt(BigInt(shares(pod.milliCpuRequest))),
    cpuPeriod: fromBigInt(BigInt(PERIOD)),
    ...(limit === undefined ? {} : { cpuQuota: fromBigInt(BigInt(quota(limit))) }),
    ...(memoryLimit === undefined ? {} : { memoryLimitInBytes: fromBigInt(memoryLimit) }),
    unified: { 'memory.oom.group': '1' },
    oomScoreAdj: fromBigInt({ Guaranteed: -997n, Burstable: 900n, BestEffort: 1000n }[pod.qos]),
  };
}

/** What the control files of a pod's slice, and of its container's scope, hold. */
export function expectedFiles(pod: QosPod): Record<string, string> {
  return {
    'memory.max': pod.memoryLimit === undefined ? 'max' : String(pod.memoryLimit),
    'cpu.max': `${pod.milliCpuLimit === undefined ? 'max' : quota(pod.milliCpuLimit)} ${PERIOD}`,
    'cpu.weight': String(weight(pod.milliCpuRequest)),
  };
}

/** The call of systemd by which a kubelet makes a slice with limits. */
function startSlice(slice: string, limits: readonly (readonly [name: string, value: string])[]): string {
  const accounting = ['CPUAccounting', 'MemoryAccounting', 'TasksAccounting'].map((name) => `${name} b true`);
  const properties = [
    ...accounting,
    'DefaultDependencies b false',
    ...limits.map(([name, value]) => `${name} t ${value}`),
  ];
  return `busctl call org.freedesktop.systemd1 /org/freedesktop/systemd1 org.freedesktop.systemd1.Manager \\
    StartTransientUnit 'ssa(sv)a(sa(sv))' ${slice} replace ${properties.length} ${properties.join(' ')} 0 >/dev/null`;
}

/** A script that makes all slices of the pods, with the limits of each pod on its own. */
export function kubeletSlices(pods: readonly QosPod[]): string {
  const above = new Set(pods.flatMap(({ slices }) => slices.slice(0, -1)));
  const lines = [...above].map((slice) => startSlice(slice, []));
  for (const pod of pods) {
    const limits: [string, string][] = [
      ['TasksMax', String(pod.pidsLimit)],
      ['CPUWeight', String(weight(pod.milliCpuRequest))],
    ];
    if (pod.memoryLimit !== undefined) limits.push(['MemoryMax', String(pod.memoryLimit)]);
    if (pod.milliCpuLimit !== undefined)
      limits.push(['CPUQuotaPerSecUSec', String(pod.milliCpuLimit * 1000)]);
    lines.push(startSlice(pod.slices.at(-1) ?? '', limits));
  }
  return lines.join('\n');
}
