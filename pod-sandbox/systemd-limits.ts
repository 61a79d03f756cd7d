/** The limits of a slice that crisp makes, as systemd's properties (systemd.resource-control(5)). */
import type { UnitProperty } from '#linux/systemd-units.ts';
import type { SandboxLinux } from './config.ts';
import { type Limit, podLimits } from './limits.ts';

const INFINITY = 2n ** 64n - 1n;
const MICROSECONDS = 1_000_000n;
/** A bit of a set of processors or memory nodes beyond this is a slip of the pen. */
const MAX_BIT = 8191;

export interface SliceLimits {
  readonly properties: readonly UnitProperty[];
  /** What systemd has no property for: control files of the slice's group, which it leaves alone. */
  readonly files: readonly Limit[];
}

/** Properties of numbers by the control file of cgroup v2 that systemd writes for them, on v1 the like of it. */
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

/** The limits in the words of v2, which are systemd's on either version; the keys of `unified` are v2's alone. */
export function wantedLimits(linux: SandboxLinux, version: 1 | 2): Limit[] {
  const { resources } = linux;
  const typed = version === 1 && resources ? { ...linux, resources: { ...resources, unified: {} } } : linux;
  return podLimits(typed, 2);
}

/** `limits` in the words of v2. On v1 systemd knows no sets of processors: they are files there. */
export function sliceLimits(limits: readonly Limit[], version: 1 | 2): SliceLimits {
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
  const number = numbers[file];
  const set = sets[file];
  if (number && /^(max|\d+)$/.test(value))
    return [{ name: number, type: 't', value: value === 'max' ? INFINITY : BigInt(value) }];
  if (set) return bitmap(set, value);
  return file === 'cpu.max' ? quota(value) : undefined;
}

/** `QUOTA PERIOD` or `max PERIOD`; systemd counts the quota for each second. */
function quota(value: string): UnitProperty[] | undefined {
  const [, amount = '', period = '100000'] = /^(max|\d+)(?: (\d+))?$/.exec(value) ?? [];
  if (amount === '' || BigInt(period) === 0n) return undefined;
  const perSecond = amount === 'max' ? INFINITY : (BigInt(amount) * MICROSECONDS) / BigInt(period);
  return [
    { name: 'CPUQuotaPerSecUSec', type: 't', value: perSecond },
    { name: 'CPUQuotaPeriodUSec', type: 't', value: BigInt(period) },
  ];
}

/** `0-3,8`: bit n of byte n / 8. undefined where it is no such list: the kernel then says so. */
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
