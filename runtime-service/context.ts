/** What each act on a container needs: the ports and the state, built once in `service.ts`. */

import type { ContainerId } from '#core/ids.ts';
import type { Leaks } from '#core/leaks.ts';
import type { Log } from '#core/operation.ts';
import type { Kernel } from '#linux/ports/kernel.ts';
import type { BlockioClasses } from './annotations/blockio-file.ts';
import type { CdiDevices } from './cdi/devices.ts';
import type { ContainerRecord } from './container.ts';
import type { Containers } from './containers.ts';
import type { Attachments } from './exec/attachments.ts';
import type { OciHooks } from './hooks/oci-hooks.ts';
import type { ExecBarrier } from './lifecycle/exec-barrier.ts';
import type { OomKills } from './lifecycle/oom-kills.ts';
import type { VolumeLabels } from './lifecycle/volume-labels.ts';
import type { Handlers } from './oci-runtime/handlers.ts';
import type { RuntimeOptions } from './options.ts';
import type { ContainerObserver, ContainerPlugins, Images, Pods, RootFileSystems } from './ports.ts';
import type { SpecHost } from './spec/index.ts';

/** The clean-ups that no client waits for. */
export interface CleanupQueue {
  /** Frees what the process of an exited container had. Not to be awaited in the container's turn: it takes one. */
  afterExit(record: ContainerRecord): Promise<unknown>;
  /** Undoes all effects of a removed container, and deletes its files. What fails is listed as a leak. */
  afterRemoval(record: ContainerRecord): void;
  /** The removed containers of which not all is undone yet, those that are listed as leaks not among them. */
  removing(): readonly ContainerRecord[];
}

/** A command, by its cgroup and files; a stale one is an earlier daemon's. */
export interface StaleExec {
  readonly record: ContainerRecord;
  /** Of its child cgroup and of its files in the bundle. */
  readonly name: string;
  /** It has ended by itself, and its background jobs run on. */
  readonly hasEnded: boolean;
}

/** Commands that have ended but whose background jobs run: their cgroups are removed when these have ended. */
export interface JobKeeper {
  keep(exec: StaleExec): void;
  close(): Promise<void>;
}

export interface Context {
  readonly options: RuntimeOptions;
  readonly kernel: Kernel;
  readonly log: Log;
  readonly containers: Containers;
  /** What could not be undone of containers that are gone. */
  readonly leaks: Leaks<ContainerRecord>;
  readonly attachments: Attachments;
  readonly oomKills: OomKills;
  readonly execBarrier: ExecBarrier;
  readonly execJobs: JobKeeper;
  readonly cleanups: CleanupQueue;
  readonly handlers: Handlers;
  readonly host: SpecHost;
  readonly pods: Pods;
  readonly images: Images;
  readonly rootfs: RootFileSystems;
  readonly observer: ContainerObserver;
  readonly plugins: ContainerPlugins;
  /** Those under creation that the plugins know of: they are told if it is undone. */
  readonly asked: Set<ContainerId>;
  readonly cdi: CdiDevices;
  readonly hooks: OciHooks;
  /** The classes of block IO that annotations name. */
  readonly blockio: BlockioClasses;
  readonly volumeLabels: VolumeLabels;
}

/** A container's files outside its record's directory; all under the state directory, gone after a reboot of the host. */
export interface ContainerPaths {
  readonly bundle: string;
  readonly config: string;
  readonly rootfs: string;
  /** Image volumes are mounted below it. */
  readonly volumes: string;
  readonly pidFile: string;
  readonly monitorPidFile: string;
  readonly exitFile: string;
}

export function pathsOf(options: RuntimeOptions, id: ContainerId): ContainerPaths {
  const bundle = `${options.state}/containers/${id}`;
  return {
    bundle,
    config: `${bundle}/config.json`,
    rootfs: `${bundle}/rootfs`,
    volumes: `${bundle}/volumes`,
    pidFile: `${bundle}/pid`,
    monitorPidFile: `${bundle}/conmon.pid`,
    exitFile: `${options.state}/exits/${id}`,
  };
}
