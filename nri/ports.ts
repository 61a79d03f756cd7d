/** What NRI needs of the daemon: the pods and containers, acts on them, programs, and a place for what is measured. */
import type { Server, Socket } from 'node:net';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import type { ResourceChanges } from '#core/model/adjustment.ts';
import type { Operation } from '#core/operation.ts';
import type { Files, Processes } from '#linux/ports/kernel.ts';
import type { PluginPod } from '#pod-sandbox/index.ts';
import type { PluginContainer } from '#runtime-service/index.ts';

export interface NriDaemon {
  /** Those that have been ready, in the order of their creation. From memory. */
  pods(): readonly PluginPod[];
  /** Those that are being made. From memory. */
  podsInTheMaking(): readonly SandboxId[];
  /** Called when one is ready. Returns what ends it. */
  onPodReady(listener: (id: SandboxId) => void): () => void;
  /** Also one that is being made; undefined where it is gone. From memory. */
  pod(id: SandboxId): PluginPod | undefined;
  /** Those that are created, are being started or run. Their specs are read from the bundles. */
  containers(): Promise<readonly PluginContainer[]>;
  /** Containers whose CreateContainer runs. From memory. */
  creating(): readonly ContainerId[];
  /** Called when one is created, or its creation has failed. Returns what ends it. */
  onCreated(listener: () => void): () => void;
  /** Changes limits of a created or running container, in its turn. Throws NotFound where it is gone. */
  update(id: ContainerId, changes: ResourceChanges, op: Operation): Promise<void>;
  /** Ends a container at once. One that is gone is success. */
  evict(id: ContainerId, reason: string, op: Operation): Promise<void>;
}

export interface NriSystem {
  readonly processes: Pick<Processes, 'spawn' | 'signal' | 'withVariable'>;
  readonly files: Pick<Files, 'writeAtomic'>;
  /** The process that has opened the other end of a unix socket; undefined where that is unknown. */
  peerOf(socket: Socket): number | undefined;
  /** Binds a unix socket for root only, whose directory is made; throws FailedPrecondition where another daemon serves it. */
  listen(server: Server, path: string): Promise<void>;
}

/** Gets what is measured. */
export interface NriObserver {
  /** `outcome`: `ok`, `refused` (the plugin's own error), or why it was dropped. */
  called(call: {
    readonly plugin: string;
    readonly event: string;
    readonly ms: number;
    readonly outcome: string;
  }): void;
  dropped(plugin: string, reason: DropReason): void;
}

/**
 * `deadline`: no answer in time; `closed`: it has gone; `protocol`: what it sends is no NRI; `backlog`: too slow for the events;
 * `refused`: it was not admitted, by its name, its events or an error of its own.
 */
export type DropReason = 'deadline' | 'closed' | 'protocol' | 'backlog' | 'refused';
