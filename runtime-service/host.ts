import { existsSync, globSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { hugePageSizes } from '#linux/cgroup/huge-pages.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { openSeccomp } from '#linux/process/seccomp.ts';
import { readBaseSpecs } from './hooks/base-spec.ts';
import type { ContainerDefaults, RuntimeOptions } from './options.ts';
import { AppArmor } from './spec/apparmor.ts';
import { configuredProfiles } from './spec/apparmor-kernel.ts';
import { capabilityNames, defaultCapabilities } from './spec/capabilities.ts';
import type { SpecHost } from './spec/index.ts';
import { inContainer } from './spec/mounts.ts';
import type { Rlimit } from './spec/process.ts';
import { checkDefaultProfile } from './spec/seccomp.ts';
import { seccompPrograms } from './spec/seccomp-programs.ts';

/**
 * Reads once what specs depend on: capabilities of the daemon, cgroup version, swap, huge pages, SELinux, and the files that the
 * options name. Throws InvalidArgument, beginning with the option, for one of these that is wrong.
 */
export async function readHost(kernel: Kernel, options: RuntimeOptions, log: Log): Promise<SpecHost> {
  const apparmor = new AppArmor(kernel.processes, log);
  apparmor.check(configuredProfiles(options));
  const status = await readFile('/proc/self/status', 'utf8');
  const bounding = /^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0';
  const capabilities = capabilityNames(bounding);
  const { version, controllers } = kernel.cgroups;
  const seccomp = { arch: process.arch, kernel: release(), defaultProfile: options.seccompProfile };
  await checkDefaultProfile(seccomp);
  return {
    ...seccomp,
    version,
    controllers,
    swap: countsSwap(version),
    hugepageSizes: new Set(hugePageSizes()),
    capabilities,
    rlimits: await allowedRlimits(options.rlimits, capabilities, log),
    defaults: checkedDefaults(options.defaults),
    baseSpecs: await readBaseSpecs(options.defaults, options.handlers),
    minOomScoreAdj: kernel.processes.minOomScoreAdj,
    apparmor,
    selinux: existsSync('/sys/fs/selinux/enforce'),
    seccompPrograms: seccompPrograms(openSeccomp(), log),
  };
}

/** The same host with other options. Throws as `readHost`. */
export async function hostWith(host: SpecHost, options: RuntimeOptions, log: Log): Promise<SpecHost> {
  host.apparmor.check(configuredProfiles(options));
  const next: SpecHost = {
    ...host,
    defaultProfile: options.seccompProfile,
    rlimits: await allowedRlimits(options.rlimits, host.capabilities, log),
    defaults: checkedDefaults(options.defaults),
    // Those of handlers that are removed now stay for the pods that have them.
    baseSpecs: new Map([...host.baseSpecs, ...(await readBaseSpecs(options.defaults, options.handlers))]),
  };
  await checkDefaultProfile(next);
  return next;
}

/** Throws InvalidArgument, beginning with the option, for what no container can have. */
function checkedDefaults(defaults: ContainerDefaults): ContainerDefaults {
  const wrong = Object.keys(defaults.env).find((name) => name === '' || /[=\0]/.test(name));
  if (wrong !== undefined) {
    throw new CrispError(
      'InvalidArgument',
      `container.default_env.${wrong}: ${JSON.stringify(wrong)} is no name of a variable`,
      { hint: 'write NAME = "value"' },
    );
  }
  return {
    ...defaults,
    capabilities: defaultCapabilities(defaults.capabilities),
    absentSourcesToReject: defaults.absentSourcesToReject.map(inContainer),
  };
}

/** Whether the kernel counts swap by group: the root of v2 has no such file, its children do. */
const countsSwap = (version: number): boolean =>
  globSync(
    version === 2 ? '/sys/fs/cgroup/*/memory.swap.max' : '/sys/fs/cgroup/memory/memory.memsw.limit_in_bytes',
  ).length > 0;

const LIMIT_NAMES: Readonly<Record<string, string>> = {
  RLIMIT_NOFILE: 'Max open files',
  RLIMIT_NPROC: 'Max processes',
  RLIMIT_CORE: 'Max core file size',
  RLIMIT_STACK: 'Max stack size',
  RLIMIT_MEMLOCK: 'Max locked memory',
};

/** Without CAP_SYS_RESOURCE no hard limit can be raised: the configured ones are clamped, which is logged once. */
async function allowedRlimits(
  wanted: readonly Rlimit[],
  capabilities: ReadonlySet<string>,
  log: Log,
): Promise<readonly Rlimit[]> {
  if (capabilities.has('CAP_SYS_RESOURCE')) return wanted;
  const own = await readFile('/proc/self/limits', 'utf8');
  return wanted.map((limit) => {
    const name = LIMIT_NAMES[limit.type];
    const hard = name ? new RegExp(`^${name}\\s+\\S+\\s+(\\d+)`, 'm').exec(own)?.[1] : undefined;
    if (hard === undefined || BigInt(hard) >= limit.hard) return limit;
    const max = BigInt(hard);
    log.warn(
      { limit: limit.type, wanted: limit.hard.toString(), allowed: hard },
      "container limit is clamped to the daemon's own",
    );
    return { type: limit.type, hard: max, soft: limit.soft < max ? limit.soft : max };
  });
}
