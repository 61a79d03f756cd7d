/** The public face of the pod service. Others import nothing else from this folder but `config.ts`. */
import { join } from 'node:path';
import { CrispError } from '#core/errors.ts';
import type { Log } from '#core/operation.ts';
import { VolatileCopies } from '#core/volatile-copies.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { openCgroupDriver } from './cgroup/cgroupfs.ts';
import type { PodCgroup } from './cgroup/driver.ts';
import type { Context } from './context.ts';
import { reconcileStates } from './lifecycle/recover.ts';
import { sandboxLeaks } from './lifecycle/undo-or-leak.ts';
import { recoverUnreadable } from './lifecycle/unreadable.ts';
import { Watches } from './lifecycle/watches.ts';
import { checkSysctls } from './namespaces/sysctls.ts';
import { BridgeNetwork } from './network/bridge/bridge.ts';
import { ConfDirectory } from './network/cni/conf-directory.ts';
import { Cni } from './network/network.ts';
import { defaultDeadlines, type PodSandboxOptions } from './options.ts';
import type { PodSandboxes } from './pod-sandboxes.ts';
import type { ContainersOfPod, RuntimeHandlers } from './ports.ts';
import type { SandboxRecord } from './sandbox.ts';
import { Sandboxes } from './sandboxes.ts';
import { PodService } from './service.ts';

export type { CgroupStats, LinkStats, PressurePair } from '#linux/ports/stats.ts';
export type { CgroupDriverName } from './cgroup/driver.ts';
export * from './config.ts';
export type { SandboxLimits } from './lifecycle/update.ts';
export { ConfDirectory, type NetworkStatus } from './network/cni/conf-directory.ts';
export type { NetworkConfig } from './network/cni/conflist.ts';
export type { Deadlines, NetworkOptions, PodSandboxOptions, SandboxKind } from './options.ts';
export type { PodSandboxes, PodViews } from './pod-sandboxes.ts';
export { allCapableHandlers, type ContainersOfPod, noContainers, type RuntimeHandlers } from './ports.ts';
export type { EndReason } from './sandbox.ts';
export type { RunRequest, Sandbox, SandboxEvent, SandboxUsage } from './sandbox-view.ts';

const SHM_BYTES = 64 * 1024 * 1024;
/** As containerd and CRI-O set it for their pause processes. */
const OOM_SCORE_ADJ = -998;
const MAX_PLUGIN_OUTPUT = 1024 * 1024;

/**
 * Loads the records and checks which pods live; reads are right from then on. The caller then runs `recover`. Throws
 * InvalidArgument for options that are not valid, FailedPrecondition for a driver that this machine lacks.
 */
export async function openPodSandboxes(
  options: PodSandboxOptions,
  kernel: Kernel,
  log: Log,
  ports: { readonly containers: ContainersOfPod; readonly handlers: RuntimeHandlers },
): Promise<PodSandboxes> {
  const { network } = options;
  const deadlines = { ...defaultDeadlines, ...options.deadlines };
  const volatile = new VolatileCopies(join(options.state, 'records/sandboxes'), kernel.processes.bootId);
  const sandboxes = new Sandboxes(options.root, kernel.files, log, volatile);
  const cgroups = openCgroupDriver(
    {
      driver: options.cgroupDriver,
      prefix: options.cgroupPrefix,
      // Ends before the stage's deadline: its error names the unit.
      limit: 0.9 * Math.min(deadlines.cgroup, deadlines.undo),
      recorded: () => sandboxes.list().flatMap(recordedCgroup),
    },
    kernel,
  );
  const cni = new Cni(kernel.processes, {
    binDirs: network.binDirs,
    environment: network.environment,
    maxOutput: network.maxOutput ?? MAX_PLUGIN_OUTPUT,
    addLimit: deadlines.networkAdd,
    delLimit: deadlines.networkDel,
    native: new BridgeNetwork(kernel, network.environment),
  });
  const undoing = { kernel, log, cgroups, cni, deadlines };
  const context: Context = {
    ...undoing,
    sandboxes,
    networks: new ConfDirectory(network.confDir, log, kernel.inotify, network.name),
    leaks: sandboxLeaks(undoing, options.root),
    ranges: { confDir: network.confDir, template: network.template ?? '' },
    cniMode: network.native ?? 'exec',
    containers: ports.containers,
    handlers: ports.handlers,
    watches: new Watches(kernel.namespaces, log, (id) => service.pauseExited(id)),
    state: options.state,
    shmBytes: options.shmBytes ?? SHM_BYTES,
    oomScoreAdj: options.oomScoreAdj ?? OOM_SCORE_ADJ,
    defaultSysctls: checkedDefaults(options.defaultSysctls ?? {}),
    resolvConf: options.resolvConf ?? '/etc/resolv.conf',
  };
  const service = new PodService(context, (name) => handlerOf(options, name));
  const [unreadable] = await Promise.all([
    context.sandboxes.load(),
    context.leaks.load(),
    context.networks.refresh(),
  ]);
  await recoverUnreadable(context, unreadable);
  reconcileStates(context);
  return service;
}

const recordedCgroup = ({ intents, cgroup }: SandboxRecord): PodCgroup[] =>
  intents.some(({ kind }) => kind === 'cgroup') ? [cgroup] : [];

/** Throws InvalidArgument for one that no pod may have. */
function checkedDefaults(sysctls: Readonly<Record<string, string>>): Readonly<Record<string, string>> {
  checkSysctls(sysctls, { network: 'pod', ipc: 'pod', pid: 'pod', user: undefined });
  return sysctls;
}

/** The empty name is kept as the client gave it: status and list echo it. */
function handlerOf({ handlers, defaultHandler }: PodSandboxOptions, name: string): string {
  const wanted = name === '' ? defaultHandler : name;
  const handler = Object.hasOwn(handlers, wanted) ? handlers[wanted] : undefined;
  if (!handler) {
    const known = Object.keys(handlers).join(', ') || 'none';
    throw new CrispError('InvalidArgument', `runtime handler ${JSON.stringify(wanted)} is not known`, {
      hint: `use one of: ${known}, or configure it`,
    });
  }
  if (handler.sandbox !== 'pause') {
    throw new CrispError(
      'Unimplemented',
      `handler ${wanted} requires sandboxes made by its runtime: that is not implemented`,
      {
        hint: `set sandbox = "pause" for the handler, or use another one`,
      },
    );
  }
  return name;
}
