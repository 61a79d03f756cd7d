import { readdir, readFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { Kernel } from '#linux/kernel.ts';
import type { RuntimeOptions } from './options.ts';
import { capabilityNames } from './spec/capabilities.ts';
import type { SpecHost } from './spec/index.ts';

/** Reads once what specs depend on: capabilities of the daemon, cgroup version, swap, huge pages, AppArmor. */
export async function readHost(kernel: Kernel, options: RuntimeOptions): Promise<SpecHost> {
  const status = await readFile('/proc/self/status', 'utf8');
  const bounding = /^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0';
  const { version, controllers } = kernel.cgroups;
  const swaps = await readFile('/proc/swaps', 'utf8').catch(() => '');
  return {
    version,
    controllers,
    swap: version === 2 ? swaps.trim().split('\n').length > 1 || hasSwapFile(kernel) : hasSwapFile(kernel),
    hugepageSizes: await hugepageSizes(),
    arch: process.arch,
    kernel: release(),
    defaultProfile: options.seccompProfile,
    capabilities: capabilityNames(bounding),
    rlimits: options.rlimits,
    minOomScoreAdj: kernel.processes.minOomScoreAdj,
    apparmor: (await readFile('/sys/module/apparmor/parameters/enabled', 'utf8').catch(() => 'N')).startsWith(
      'Y',
    ),
  };
}

const hasSwapFile = ({ cgroups }: Kernel): boolean =>
  cgroups.read('/', cgroups.version === 2 ? 'memory.swap.max' : 'memory.memsw.limit_in_bytes') !== undefined;

/** `2MB` from `hugepages-2048kB`, as CRI writes sizes. */
async function hugepageSizes(): Promise<Set<string>> {
  const names = await readdir('/sys/kernel/mm/hugepages').catch(() => [] as string[]);
  const sizes = new Set<string>();
  for (const name of names) {
    const kilobytes = Number(/^hugepages-(\d+)kB$/.exec(name)?.[1]);
    if (!kilobytes) continue;
    if (kilobytes % (1 << 20) === 0) sizes.add(`${kilobytes >> 20}GB`);
    else if (kilobytes % 1024 === 0) sizes.add(`${kilobytes >> 10}MB`);
    else sizes.add(`${kilobytes}KB`);
  }
  return sizes;
}
