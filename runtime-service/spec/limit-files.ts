import type { LinuxResources } from '#core/model/resources.ts';
import { cpuWeight, type Limit } from '#linux/systemd/unit-properties.ts';
import { type OtherLimits, otherFiles } from './other-limits.ts';
import { ociResources, type ResourceHost } from './resources.ts';
import { controlFiles } from './update.ts';

const PERIOD = 100_000n;

/** All limits of a container as control files of cgroup v2, as the OCI runtime writes them; `unified` wins. */
export function limitFiles(resources: LinuxResources, host: ResourceHost, others: OtherLimits = {}): Limit[] {
  const { memory, cpu } = ociResources(resources, host);
  const files = new Map<string, string>();
  const amount = (value: bigint): string => (value < 0n ? 'max' : `${value}`);
  if (memory?.limit !== undefined) files.set('memory.max', amount(memory.limit));
  // The typed number is that of memory and swap together.
  if (memory?.swap !== undefined && memory.limit !== undefined)
    files.set('memory.swap.max', memory.swap < 0n ? 'max' : amount(memory.swap - memory.limit));
  if (cpu?.shares !== undefined) files.set('cpu.weight', `${cpuWeight(cpu.shares)}`);
  if (cpu?.quota !== undefined || cpu?.period !== undefined)
    files.set('cpu.max', `${amount(cpu.quota ?? -1n)} ${cpu.period ?? PERIOD}`);
  if (cpu?.cpus !== undefined) files.set('cpuset.cpus', cpu.cpus);
  if (cpu?.mems !== undefined) files.set('cpuset.mems', cpu.mems);
  for (const { file, value } of otherFiles(others, 2)) files.set(file, value);
  for (const { file, value } of controlFiles(resources, host)) files.set(file, value);
  return [...files].map(([file, value]) => ({ file, value }));
}
