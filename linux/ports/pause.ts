/** The process that holds the namespaces of a pod. */
import type { ProcessRef } from './process.ts';

export type NamespaceKind = 'net' | 'ipc' | 'uts' | 'pid' | 'user' | 'cgroup' | 'mnt';

export interface IdMapping {
  readonly containerId: number;
  readonly hostId: number;
  readonly length: number;
}

export interface PauseRequest {
  /** The kinds to make; the others are the host's. */
  readonly kinds: readonly NamespaceKind[];
  /** Directory that exists; each kind is pinned as a bind mount on a file of its name in it. */
  readonly pins: string;
  /** Host name of a new uts namespace. */
  readonly hostname?: string;
  /** Set inside the new namespaces; keys in dotted form. */
  readonly sysctls: Readonly<Record<string, string>>;
  /** Where the pod has a user namespace. */
  readonly userNamespace?: { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] };
  /** Wanted oom_score_adj; clamped to what is allowed. */
  readonly oomScoreAdj: number;
  /** See `Cgroups.joinFiles`: the groups that it joins when it is released. Not with a user namespace. */
  readonly joinFiles?: readonly string[];
  /** The SELinux context that it has once it is sealed; where the policy refuses that it keeps the daemon's, which is logged. */
  readonly label?: string;
}

/** A pause process that is still held by its start pipe. */
export interface HeldPause {
  readonly process: ProcessRef;
  /** Path of each namespace's pin. */
  readonly pins: Readonly<Partial<Record<NamespaceKind, string>>>;
  /** Whether it joins its cgroups itself; else it is to be moved before its release. */
  readonly joinsCgroups: boolean;
  /** Lets it continue, once its cgroup and its record are in place. Resolves when it is in the cgroup and sealed. */
  release(): Promise<void>;
  /** Closes the start pipe: it exits. */
  abandon(): Promise<void>;
}
