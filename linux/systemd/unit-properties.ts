/** Limits as cgroup v2 control files, and the systemd properties for the same (systemd.resource-control(5)). */
import type { UnitProperty } from '../ports/systemd-units.ts';

/** A control file of a cgroup and its value. */
export interface Limit {
  readonly file: string;
  readonly value: string;
}

export interface UnitLimits {
  readonly properties: readonly UnitProperty[];
  /** What systemd has no property for. */
  readonly files: readonly Limit[];
}

const INFINITY = 2n ** 64n - 1n;
const MICROSECONDS = 1_000_000n;
/** A processor or memory node beyond this is taken for a typing error. */
const MAX_BIT = 8191;

const numbers: Readonly<Record<string, string>> = {
  'memory.min': 'MemoryMin',
  'memory.low': 'MemoryLow',
  'memory.high': 'MemoryHigh',
  'memory.max': 'MemoryMax',
  'memory.swap.max': 'MemorySwapMax',
  'cpu.weight': 'CPUWeight',
  'pids.max': 'TasksMax',
};

const sets: Readonly<Record<string, string>> = {
  'cpuset.cpus': 'AllowedCPUs',
  'cpuset.mems': 'AllowedMemoryNodes',
};

/** Shares of 2 … 262144 onto weights of 1 … 10000, linearly, as the kubelet and the OCI runtimes do. */
export function cpuWeight(shares: bigint): bigint {
  const bounded = shares < 2n ? 2n : shares > 262_144n ? 262_144n : shares;
  return 1n + ((bounded - 2n) * 9999n) / 262_142n;
}

/** On v1 systemd carries the same properties out with v1's files, but for the sets of processors, which it lacks there. */
export function unitLimits(limits: readonly Limit[], version: 1 | 2): UnitLimits {
  const properties: UnitProperty[] = [];
  const files: Limit[] = [];
  for (const limit of limits) {
    const made = version === 1 && sets[limit.file] ? undefined : propertiesOf(limit);
    if (made) properties.push(...made);
    else files.push(limit);
  }
  return { properties, files };
}

function propertiesOf({ file, value }: Limit): UnitProperty[] | undefined {
  const number = Object.hasOwn(numbers, file) ? numbers[file] : undefined;
  const set = Object.hasOwn(sets, file) ? sets[file] : undefined;
  if (number && /^(max|\d{1,19})$/.test(value))
    return [{ name: number, type: 't', value: value === 'max' ? INFINITY : BigInt(value) }];
  if (set) return bitmap(set, value);
  return file === 'cpu.max' ? quota(value) : undefined;
}

/** `QUOTA PERIOD` or `max PERIOD`; systemd counts the quota for each second. */
function quota(value: string): UnitProperty[] | undefined {
  const [, amount = '', period = '100000'] = /^(max|\d{1,12})(?: (\d{1,12}))?$/.exec(value) ?? [];
  if (amount === '' || BigInt(period) === 0n) return undefined;
  const perSecond = amount === 'max' ? INFINITY : (BigInt(amount) * MICROSECONDS) / BigInt(period);
  return [
    { name: 'CPUQuotaPerSecUSec', type: 't', value: perSecond },
    { name: 'CPUQuotaPeriodUSec', type: 't', value: BigInt(period) },
  ];
}

/** `0-3,8`: bit n of byte n / 8. undefined where it is not such a list: the kernel then refuses it. */
function bitmap(name: string, list: string): UnitProperty[] | undefined {
  const bytes: number[] = [];
  for (const part of list.split(',')) {
    const [, first = '', last = first] = /^(\d+)(?:-(\d+))?$/.exec(part.trim()) ?? [];
    if (first === '' || Number(last) > MAX_BIT) return undefined;
    for (let bit = Number(first); bit <= Number(last); bit++) {
      while (bytes.length <= bit >> 3) bytes.push(0);
      bytes[bit >> 3] = (bytes[bit >> 3] ?? 0) | (1 << (bit & 7));
    }
  }
  return [{ name, type: 'ay', value: bytes }];
}
