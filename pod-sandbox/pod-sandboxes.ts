/** The interface of the pod service: what the daemon and `cri/` call. Opened by `openPodSandboxes` in `index.ts`. */
import type { OnReadOpts, Socket } from 'node:net';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { Leak } from '#core/leaks.ts';
import type { PodView } from '#core/model/pod.ts';
import type { NewerRecords } from '#core/newer-records.ts';
import type { Operation } from '#core/operation.ts';
import type { PreparedChange } from '#core/prepared-change.ts';
import type { UsageDetail } from '#linux/ports/stats.ts';
import type { NetworkCheck } from './lifecycle/network-checks.ts';
import type { SandboxLimits } from './lifecycle/update.ts';
import type { NetworkStatus } from './network/cni/conf-directory.ts';
import type { PodSandboxOptions } from './options.ts';
import type { PluginPod } from './ports.ts';
import type { RunRequest, Sandbox, SandboxEvent, SandboxUsage } from './sandbox-view.ts';

/** Has the form of runtime-service's port `Pods`. */
export interface PodViews {
  get(id: SandboxId): PodView | undefined;
  resolve(idOrPrefix: string): SandboxId | undefined;
  /** Throws NotFound for an unknown pod. */
  containerCgroup(pod: SandboxId, container: ContainerId): { readonly oci: string; readonly path: string };
}

export interface PodSandboxes {
  /**
   * Checks new options: for pods and calls that begin after they are applied. Directories, cgroups and what is not in the
   * configuration stay. Throws InvalidArgument.
   */
  prepare(options: PodSandboxOptions): Promise<PreparedChange>;
  /**
   * Makes a sandbox; resolves when it is ready. A retry with the same metadata joins the running call; after success
   * it gets the same id. Throws InvalidArgument (field and remedy), AlreadyExists (the name is held by another
   * configuration, or by a sandbox that has ended), NetworkFailed (with the plugin), DeadlineExceeded (with the
   * stage), Cancelled. After a failure nothing is left, or the sandbox stays listed as not ready to be removed.
   */
  run(request: RunRequest, op: Operation): Promise<SandboxId>;
  /**
   * Kills the containers, detaches the network and undoes all else; the record stays. Idempotent in every state; a
   * sandbox that is being made is cancelled first. An unknown id is success. Continues when the client cancels.
   */
  stop(id: SandboxId, op: Operation): Promise<void>;
  /** Stops where needed, removes the containers, then the record; the name is free. An unknown id is success. */
  remove(id: SandboxId, op: Operation): Promise<void>;
  /**
   * A connection to a port of the pod's localhost, IPv4 before IPv6; of the node's where the pod is on its network.
   * `onread`: how it is read, in the place of events. Throws NotFound, FailedPrecondition where the pod is not ready,
   * Unavailable where the connection is refused.
   */
  connectPort(id: SandboxId, port: number, signal: AbortSignal, onread?: OnReadOpts): Promise<Socket>;
  get(id: SandboxId): Sandbox | undefined;
  /** A full id from a full id or a unique prefix; undefined where none or several match. */
  resolve(idOrPrefix: string): SandboxId | undefined;
  /** All sandboxes, oldest first. From memory. */
  list(): readonly Sandbox[];
  /** See `updateSandbox`; plugins are asked before. */
  updateResources(id: SandboxId, limits: SandboxLimits, op: Operation): Promise<void>;
  /** As plugins see it, in any state; undefined: unknown. */
  pluginPod(id: SandboxId): PluginPod | undefined;
  /** As plugins see them: those that have been ready and are not removed, oldest first. From memory. */
  pluginPods(): readonly PluginPod[];
  /** What pods use, in the order of the ids; unknown ids are left out. Read off the main thread, without a program. */
  stats(ids: readonly SandboxId[], detail: UsageDetail): Promise<SandboxUsage[]>;
  /** Whether pods with a network can be made, by the configuration and STATUS of its plugins. From memory; both are polled in the background. */
  networkStatus(): NetworkStatus;
  /** The CHECK of a pod's network after the start of the daemon; undefined where there was none. From memory. */
  networkCheck(id: SandboxId): NetworkCheck | undefined;
  /** See `setPodRanges` in network/cni/pod-ranges.ts. */
  setPodRanges(text: string, op: Operation): Promise<void>;
  /** What could not be undone of pods that are gone, the oldest first. From memory. */
  leaks(): readonly Leak[];
  /** Pods that a newer crisp has recorded, as they were found at the start. */
  readonly newerRecords: NewerRecords;
  /** For runtime-service. */
  readonly pods: PodViews;
  /** Finishes or undoes what the last daemon left incomplete. Reads, run, stop and remove may be called at the same time. */
  recover(op: Operation): Promise<void>;
  /** Called after each committed change, in order. Returns what ends it. */
  onChange(listener: (event: SandboxEvent) => void): () => void;
  /** Ends watches and waits for running calls to settle. Pods run on. */
  close(): Promise<void>;
}
