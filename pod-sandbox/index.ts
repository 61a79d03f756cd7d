/** The public face of the pod service. Others import nothing else from this folder but `config.ts`. */
import { join } from 'node:path';
import { newerRecords } from '#core/newer-records.ts';
import type { Log } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import { VolatileCopies } from '#core/volatile-copies.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import { openCgroupDriver } from './cgroup/cgroupfs.ts';
import type { PodCgroup } from './cgroup/driver.ts';
import type { Context } from './context.ts';
import { NetworkChecks } from './lifecycle/network-checks.ts';
import { NetworkCollector } from './lifecycle/network-collector.ts';
import { reconcileStates } from './lifecycle/recover.ts';
import { sandboxLeaks } from './lifecycle/undo-or-leak.ts';
import { recoverUnreadable } from './lifecycle/unreadable.ts';
import { Watches } from './lifecycle/watches.ts';
import { BridgeNetwork } from './network/bridge/bridge.ts';
import { checkTemplate } from './network/cni/pod-ranges.ts';
import { Cni } from './network/network.ts';
import { checkStatus, hasStatus } from './network/plugin-status.ts';
import { NetworkReadiness } from './network/readiness.ts';
import type { PodSandboxOptions } from './options.ts';
import type { PodSandboxes } from './pod-sandboxes.ts';
import {
  type ContainersOfPod,
  type NetworkObserver,
  noNetworkObserver,
  noPodPlugins,
  type PodPlugins,
  type RuntimeHandlers,
} from './ports.ts';
import type { SandboxRecord } from './sandbox.ts';
import { Sandboxes } from './sandboxes.ts';
import { PodLabels } from './selinux/labels.ts';
import { PodService } from './service.ts';
import { checkedHandler, type Directories, pluginLimits, settingsOf } from './settings.ts';

export type { CgroupStats, LinkStats, PressurePair } from '#linux/ports/stats.ts';
export type { CgroupDriverName } from './cgroup/driver.ts';
export * from './config.ts';
export type { NetworkCheck } from './lifecycle/network-checks.ts';
export type { SandboxLimits } from './lifecycle/update.ts';
export { ConfDirectory, type NetworkStatus } from './network/cni/conf-directory.ts';
export { listConfFiles, readConfFile } from './network/cni/conf-files.ts';
export { type NetworkConfig, parseNetworkConfig } from './network/cni/conflist.ts';
export { isInProcess } from './network/in-process.ts';
export type { Deadlines, NetworkOptions, PodSandboxOptions, SandboxKind } from './options.ts';
export type { PodSandboxes, PodViews } from './pod-sandboxes.ts';
export {
  allCapableHandlers,
  type ContainersOfPod,
  type NetworkObserver,
  noContainers,
  noNetworkObserver,
  noPodPlugins,
  type PluginPod,
  type PodPlugins,
  type RuntimeHandlers,
} from './ports.ts';
export type { EndReason } from './sandbox.ts';
export type { RunRequest, Sandbox, SandboxEvent, SandboxUsage } from './sandbox-view.ts';

const SHM_BYTES = 64 * 1024 * 1024;
/** As containerd and CRI-O set it for their pause processes. */
const OOM_SCORE_ADJ = -998;
const MAX_PLUGIN_OUTPUT = 1024 * 1024;
/** For STATUS of all plugins of the network. */
const STATUS_LIMIT_MS = 10_000;
/** How long the start waits for the first one, so that a restart of the daemon is not seen as a lack of the network. */
const FIRST_STATUS_MS = 1_000;

/**
 * Loads the records and checks which pods live; reads are right from then on. The caller then runs `recover`. Throws
 * InvalidArgument for options that are not valid, FailedPrecondition for a driver that this machine lacks.
 */
export async function openPodSandboxes(
  options: PodSandboxOptions,
  kernel: Kernel,
  log: Log,
  ports: {
    readonly containers: ContainersOfPod;
    readonly handlers: RuntimeHandlers;
    /** Nothing is measured where it is absent. */
    readonly networks?: NetworkObserver;
    /** None where it is absent. */
    readonly plugins?: PodPlugins;
  },
): Promise<PodSandboxes> {
  const { network } = options;
  const parts = { kernel, log, onNetwork: () => void readiness.status() };
  let settings = settingsOf(options, parts);
  const volatile = new VolatileCopies(join(options.state, 'records/sandboxes'), kernel.processes.bootId);
  const sandboxes = new Sandboxes(options.root, kernel.files, log, volatile);
  const cgroups = openCgroupDriver(
    {
      driver: options.cgroupDriver,
      prefix: options.cgroupPrefix,
      // Ends before the stage's deadline: its error names the unit.
      limit: () => 0.9 * Math.min(settings.deadlines.cgroup, settings.deadlines.undo),
      recorded: () => sandboxes.list().flatMap(recordedCgroup),
    },
    kernel,
  );
  const calls = {
    processes: kernel.processes,
    observer: ports.networks ?? noNetworkObserver,
    maxOutput: network.maxOutput ?? MAX_PLUGIN_OUTPUT,
  };
  const cni = new Cni(kernel.processes, {
    ...pluginLimits(network, settings.deadlines),
    ...calls,
    environment: network.environment,
    native: new BridgeNetwork(kernel, network.environment),
  });
  const readiness = new NetworkReadiness(
    () => settings.networks,
    async (configs, op) => {
      const limit = STATUS_LIMIT_MS / configs.length;
      for (const config of configs.filter(hasStatus))
        await checkStatus(config, { ...calls, ...settings.options.network, limit }, op);
    },
    log,
  );
  const context: Context = {
    kernel,
    log,
    cgroups,
    cni,
    sandboxes,
    leaks: sandboxLeaks(() => context, { kernel, log, root: options.root }),
    readiness,
    get networks() {
      return settings.networks;
    },
    get directories() {
      return settings.directories.values();
    },
    networksOf: (handler) => settings.networksOf(handler || ports.handlers.defaultName),
    get ranges() {
      return settings.ranges;
    },
    get cniMode() {
      return settings.cniMode;
    },
    get ipPreference() {
      return settings.ipPreference;
    },
    get hostPorts() {
      return settings.hostPorts;
    },
    get defaultSysctls() {
      return settings.defaultSysctls;
    },
    get deadlines() {
      return settings.deadlines;
    },
    containers: ports.containers,
    handlers: ports.handlers,
    plugins: ports.plugins ?? noPodPlugins,
    labels: new PodLabels(options.selinux, kernel.selinux, function* () {
      for (const { selinux } of sandboxes.list()) if (selinux) yield* [selinux.process, selinux.files];
      yield* ports.containers.labels();
    }),
    watches: new Watches(kernel.namespaces, log, (id) => service.pauseExited(id)),
    root: options.root,
    state: options.state,
    shmBytes: options.shmBytes ?? SHM_BYTES,
    oomScoreAdj: options.oomScoreAdj ?? OOM_SCORE_ADJ,
    resolvConf: options.resolvConf ?? '/etc/resolv.conf',
  };
  const prepare = async (next: PodSandboxOptions): Promise<PreparedChange> => {
    await checkTemplate(next.network.template ?? '');
    const prepared = settingsOf(next, parts, settings);
    const before = settings.directories;
    const without = (some: Directories, others: Directories) =>
      [...some].filter(([key]) => !others.has(key)).map(([, directory]) => directory);
    const added = without(prepared.directories, before);
    await Promise.all(added.map((directory) => directory.refresh()));
    return {
      apply() {
        settings = prepared;
        cni.update(pluginLimits(next.network, prepared.deadlines));
        for (const directory of without(before, prepared.directories)) directory.close();
        readiness.status();
        collector.update();
      },
      discard() {
        for (const directory of added) directory.close();
      },
    };
  };
  const collector = new NetworkCollector(context, {
    interval: () => settings.options.network.gcInterval ?? 0,
    onRound: (report) => calls.observer.collected(report),
    ...(network.gcRecheck === undefined ? {} : { recheckMs: network.gcRecheck }),
  });
  const service = new PodService(context, {
    collector,
    checks: new NetworkChecks(context),
    handlerOf: (name) => checkedHandler(settings.options, name, ports.handlers.defaultName),
    prepare,
    newerRecords: () => newer,
  });
  const [unreadable] = await Promise.all([
    context.sandboxes.load(),
    context.leaks.load(),
    Promise.all([...context.directories].map((directory) => directory.refresh())).then(() =>
      readiness.settled(FIRST_STATUS_MS),
    ),
  ]);
  const newer = newerRecords(unreadable, join(options.state, 'sandboxes'));
  await recoverUnreadable(context, unreadable);
  reconcileStates(context);
  return service;
}

const recordedCgroup = ({ intents, cgroup }: SandboxRecord): PodCgroup[] =>
  intents.some(({ kind }) => kind === 'cgroup') ? [cgroup] : [];
