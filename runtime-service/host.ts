import { existsSync, readdirSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { release } from 'node:os';
import type { Log } from '#core/operation.ts';
import { hugePageSizes } from '#linux/cgroup/huge-pages.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { openSeccomp } from '#linux/process/seccomp.ts';
import { readBaseSpecs } from './hooks/base-spec.ts';
import type { ContainerDefaults, RuntimeOptions } from './options.ts';
import { AppArmor } from './spec/apparmor.ts';
import { configuredProfiles } from './spec/apparmor-kernel.ts';
import { capabilityNames } from './spec/capabilities.ts';
import { checkDefaults } from './spec/defaults.ts';
import type { SpecHost } from './spec/index.ts';
import { inContainer } from './spec/mounts.ts';
import type { Rlimit } from './spec/process.ts';
import { checkProfiles } from './spec/seccomp.ts';
import { seccompPrograms } from './spec/seccomp-programs.ts';

/**
 * Reads once what specs depend on: capabilities of the daemon, cgroup version, swap, huge pages, and the files that the
 * options name. Throws InvalidArgument, beginning with the option, for one of these that is wrong.
 */
export async function readHost(kernel: Kernel, options: RuntimeOptions, log: Log): Promise<SpecHost> {
  const apparmor = new AppArmor(kernel.processes, log);
  apparmor.check(configuredProfiles(options));
  const status = await readFile('/proc/self/status', 'utf8');
  const bounding = /^CapBnd:\s*([0-9a-f]+)/m.exec(status)?.[1] ?? '0';
  const capabilities = capabilityNames(bounding);
  const { version, controllers } = kernel.cgroups;
  const seccomp = { arch: process.arch, kernel: release() };
  await checkProfiles(options, seccomp);
  const clampRlimits = await rlimitClamp(capabilities, log);
  return {
    ...seccomp,
    version,
    controllers,
    swap: countsSwap(version),
    hugepageSizes: new Set(hugePageSizes()),
    capabilities,
    clampRlimits,
    defaults: checkedDefaults(options, clampRlimits),
    baseSpecs: await readBaseSpecs(options.defaults, options.handlers),
    minOomScoreAdj: kernel.processes.minOomScoreAdj,
    apparmor,
    seccompPrograms: seccompPrograms(openSeccomp(), log),
  };
}

/** The same host with other options. Throws as `readHost`. */
export async function hostWith(host: SpecHost, options: RuntimeOptions): Promise<SpecHost> {
  host.apparmor.check(configuredProfiles(options));
  await checkProfiles(options, host);
  return {
    ...host,
    defaults: checkedDefaults(options, host.clampRlimits),
    // Those of handlers that are removed now stay for the pods that have them.
    baseSpecs: new Map([...host.baseSpecs, ...(await readBaseSpecs(options.defaults, options.handlers))]),
  };
}

/** Throws InvalidArgument, beginning with the option, for what no container can have. Logs the rlimits that are clamped. */
function checkedDefaults(
  { defaults, handlers }: RuntimeOptions,
  clamp: SpecHost['clampRlimits'],
): ContainerDefaults {
  checkDefaults('container', defaults);
  clamp(defaults.rlimits);
  for (const [name, handler] of Object.entries(handlers)) {
    checkDefaults(`runtime.handlers.${name}`, handler);
    clamp(handler.rlimits ?? []);
  }
  return { ...defaults, absentSourcesToReject: defaults.absentSourcesToReject.map(inContainer) };
}

/** Whether the kernel counts swap by group: the root of v2 has no such file, its children do. */
function countsSwap(version: number): boolean {
  const root = '/sys/fs/cgroup';
  if (version !== 2) return existsSync(`${root}/memory/memory.memsw.limit_in_bytes`);
  return readdirSync(root).some((child) => existsSync(`${root}/${child}/memory.swap.max`));
}

/** Those of getrlimit(2) in /proc/PID/limits (proc_pid_limits(5)). */
const LIMIT_NAMES: Readonly<Record<string, string>> = {
  RLIMIT_AS: 'Max address space',
  RLIMIT_CORE: 'Max core file size',
  RLIMIT_CPU: 'Max cpu time',
  RLIMIT_DATA: 'Max data size',
  RLIMIT_FSIZE: 'Max file size',
  RLIMIT_LOCKS: 'Max file locks',
  RLIMIT_MEMLOCK: 'Max locked memory',
  RLIMIT_MSGQUEUE: 'Max msgqueue size',
  RLIMIT_NICE: 'Max nice priority',
  RLIMIT_NOFILE: 'Max open files',
  RLIMIT_NPROC: 'Max processes',
  RLIMIT_RSS: 'Max resident set',
  RLIMIT_RTPRIO: 'Max realtime priority',
  RLIMIT_RTTIME: 'Max realtime timeout',
  RLIMIT_SIGPENDING: 'Max pending signals',
  RLIMIT_STACK: 'Max stack size',
};

/** Without CAP_SYS_RESOURCE no hard limit can be raised: those above the daemon's own are clamped, which is logged once for each. */
async function rlimitClamp(capabilities: ReadonlySet<string>, log: Log): Promise<SpecHost['clampRlimits']> {
  if (capabilities.has('CAP_SYS_RESOURCE')) return (wanted) => wanted;
  const own = await readFile('/proc/self/limits', 'utf8');
  const logged = new Set<string>();
  const clamped = (limit: Rlimit): Rlimit => {
    const name = LIMIT_NAMES[limit.type];
    const hard = name ? new RegExp(`^${name}\\s+\\S+\\s+(\\d+)`, 'm').exec(own)?.[1] : undefined;
    if (hard === undefined || BigInt(hard) >= limit.hard) return limit;
    const max = BigInt(hard);
    const facts = { limit: limit.type, wanted: limit.hard.toString(), allowed: hard };
    const key = JSON.stringify(facts);
    if (!logged.has(key)) log.warn(facts, "container limit is clamped to the daemon's own");
    logged.add(key);
    return { type: limit.type, hard: max, soft: limit.soft < max ? limit.soft : max };
  };
  return (wanted) => wanted.map(clamped);
}
