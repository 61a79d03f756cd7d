/** What a container sees of its own limits: its cgroup's files, of cgroup v2 or v1. */
import type { Trial } from '../trial.ts';

/** Prints the first of these files of the container's cgroup that exists, by its name below the version 2 or 1 tree. */
const show = (v2: string, controller: string, v1: string): string =>
  `cat /sys/fs/cgroup/${v2} 2>/dev/null || cat /sys/fs/cgroup/${controller}/${v1}`;

/** Bytes; Infinity without a limit. */
export async function memoryLimit(trial: Trial, pod: string, container = 'main'): Promise<number> {
  const text = await trial.shell(pod, show('memory.max', 'memory', 'memory.limit_in_bytes'), container);
  const bytes = Number(text);
  return text.trim() === 'max' || bytes > 2 ** 60 ? Number.POSITIVE_INFINITY : bytes;
}

/** CPUs; Infinity without a limit. */
export async function cpuLimit(trial: Trial, pod: string, container = 'main'): Promise<number> {
  const v1 = 'cat /sys/fs/cgroup/cpu/cpu.cfs_quota_us /sys/fs/cgroup/cpu/cpu.cfs_period_us';
  const text = await trial.shell(pod, `cat /sys/fs/cgroup/cpu.max 2>/dev/null || ${v1}`, container);
  const [quota = '', period = ''] = text.trim().split(/\s+/);
  return quota === 'max' || quota === '-1' ? Number.POSITIVE_INFINITY : Number(quota) / Number(period);
}

/** `weight` of cgroup v2 (1 to 10000) or `shares` of v1 (2 to 262144). */
export async function cpuWeight(
  trial: Trial,
  pod: string,
): Promise<{ readonly weight?: number; readonly shares?: number }> {
  const text = await trial.shell(
    pod,
    'if [ -e /sys/fs/cgroup/cpu.weight ]; then echo weight; cat /sys/fs/cgroup/cpu.weight; else echo shares; cat /sys/fs/cgroup/cpu/cpu.shares; fi',
  );
  const [kind, value] = text.trim().split('\n');
  return kind === 'weight' ? { weight: Number(value) } : { shares: Number(value) };
}
