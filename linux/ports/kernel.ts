/**
 * All that crisp uses of the kernel, as one interface. `linux/` has the real one (koffi, `openKernel()`), and a fake
 * one for faults that cannot be provoked for real; both pass the same contract suite.
 *
 * Words: a *process reference* is a pid that counts only with its boot id and start time, so that a recycled pid is
 * never touched. A *cgroup path* is absolute below the cgroup root (`/crisp/pod-1/ctr`) and means the same group in
 * the v2 tree or in each v1 hierarchy that crisp uses.
 *
 * Unless said otherwise a method throws `CrispError` (`KernelRefused`, with `errno` set and the path in its message;
 * ENOENT of a named object: `NotFound`; ENOSPC, EDQUOT, EMFILE: `ResourceExhausted`).
 */
import type { Inotify } from './inotify.ts';
import type { NatRules } from './nat-rules.ts';
import type { HeldPause, PauseRequest } from './pause.ts';
import type { PodLinks } from './pod-links.ts';
import type { Child, ExitStatus, ProcessRef, SpawnRequest } from './process.ts';
import type { Selinux } from './selinux.ts';
import type { Usage } from './stats.ts';
import type { Streams } from './streams.ts';
import type { SystemdUnits } from './systemd-units.ts';
import type { Trouble } from './troubles.ts';

export type { Masquerade, NatRules, PodChain } from './nat-rules.ts';
export type { HostPort, NatTables, PodKey, PodNat, RuleOwner } from './nat-tables.ts';
export type { HeldPause, IdMapping, NamespaceKind, PauseRequest } from './pause.ts';
export type * from './pod-links.ts';
export type { Child, ExitStatus, ProcessRef, SpawnRequest, StdioIn } from './process.ts';

export interface Kernel {
  readonly files: Files;
  readonly mounts: Mounts;
  readonly namespaces: Namespaces;
  readonly processes: Processes;
  readonly cgroups: Cgroups;
  readonly links: PodLinks;
  readonly nat: NatRules;
  readonly streams: Streams;
  readonly usage: Usage;
  readonly systemd: SystemdUnits;
  readonly selinux: Selinux;
  readonly inotify: Pick<Inotify, 'watch' | 'forget'>;
  /** What is wrong with the node now. From memory. */
  troubles(): readonly Trouble[];
  /** Ends the workers, leaves every effect. Resolves to the number of stuck threads: with any, end by `exitNow` alone. */
  close(): Promise<number>;
}

export interface Files {
  /**
   * Temporary file in the same directory, write, flush (fdatasync), rename, (durable: fsync of the directory). A power cut
   * leaves the former file or this one, whole; `durable`: this one, once it has resolved.
   */
  writeAtomic(
    path: string,
    data: string | Uint8Array,
    options?: { mode?: number; durable?: boolean },
  ): Promise<void>;
  syncDirectory(path: string): Promise<void>;
  /** fdatasync(2) of a file that another thread has written. Off the main thread. */
  syncFile(path: string): Promise<void>;
  /**
   * fs-verity (SHA-256): from here on nothing can write to the file, and what the disk returns otherwise than it was written is
   * EIO. False where the file system has none. The kernel reads the whole file: for worker threads. The file must be flushed,
   * and open for writing nowhere (KernelRefused, ETXTBSY). Sealed already: true.
   */
  sealFile(path: string): Promise<boolean>;
  /** rename(2), with Node's own errors. Only what has been flushed may be renamed to a name that is read after a power cut. */
  rename(path: string, to: string): Promise<void>;
  /**
   * Gives each of two names what the other one has, in one step (renameat2(2), RENAME_EXCHANGE). False, with nothing changed,
   * where the file system cannot. The same must be flushed as for `rename`.
   */
  exchange(path: string, to: string): Promise<boolean>;
  /** Makes it with its parents, with Node's own errors; the uppermost that is new, undefined where it was there. */
  makeDirectory(path: string, mode?: number): Promise<string | undefined>;
  /** syncfs(2) of the file system that holds the path. Off the main thread. */
  syncFilesystem(path: string): Promise<void>;
  /** Deletes a tree off the main thread. Follows no link, enters no other file system. A missing path is success. */
  removeTree(path: string): Promise<void>;
  /** Blocks are bytes here. */
  statfs(path: string): Promise<{
    type: number;
    total: bigint;
    free: bigint;
    available: bigint;
    inodes: bigint;
    inodesFree: bigint;
  }>;
}

/** `unbindable`: private, and not part of recursive binds of the mounts above it. */
export type Propagation = 'private' | 'rslave' | 'rshared' | 'unbindable';

export interface MountEntry {
  readonly id: number;
  readonly parent: number;
  readonly device: string;
  readonly root: string;
  readonly target: string;
  readonly type: string;
  readonly source: string;
  readonly options: string;
  /** Optional fields such as `shared:12`, `master:3`. */
  readonly tags: readonly string[];
}

export interface Mounts {
  /** Layers from the top to the bottom, any number (the new mount API has no 4 KiB limit). No upper: read-only. */
  overlay(mount: {
    target: string;
    lower: readonly string[];
    upper?: string;
    work?: string;
    options?: readonly string[];
    /** The upper layer need not outlive a power cut: nothing syncs it, not the unmount either. Ignored before Linux 6.7. */
    volatile?: boolean;
  }): Promise<void>;
  /**
   * A bind mount; `readonly` is a second step, as the kernel requires. `idMap`, the pin of a user namespace, shows the
   * files' owners as that namespace numbers them; FailedPrecondition where the file system cannot (overlay, NFS, …).
   */
  bind(mount: {
    source: string;
    target: string;
    readonly?: boolean;
    recursive?: boolean;
    propagation?: Propagation;
    idMap?: string;
  }): Promise<void>;
  /**
   * Mounts an EROFS image, a file, read-only; its data is read without a second copy in the page cache where the kernel can.
   * `by`: from the file itself (Linux 6.12 and later), or through a loop device that is released with the mount. Nothing
   * keeps a second mount from the same target. DataLoss: no such image, or not the whole of one; FailedPrecondition:
   * this kernel does not mount them in this way; ResourceExhausted: no loop device is free. `direct`: from the file itself only
   * where the kernel can read past the file's page cache, else FailedPrecondition with EINVAL.
   */
  erofs(mount: {
    image: string;
    target: string;
    by: 'file' | 'loop';
    direct?: boolean;
    /** The SELinux context of all its files. */
    context?: string | undefined;
  }): Promise<void>;
  tmpfs(mount: {
    target: string;
    bytes?: number;
    mode?: number;
    options?: readonly string[];
    noexec?: boolean;
  }): Promise<void>;
  /** Unmounts off the main thread, lazily where busy. What is not mounted, or is missing, is success. */
  unmount(target: string): Promise<void>;
  /** The mounts of crisp's own mount namespace whose target is the path or is below it. */
  below(path: string): MountEntry[];
}

export interface Namespaces {
  /** Makes the namespaces and their pause process, pins them, brings loopback up, sets host name and sysctls. */
  hold(request: PauseRequest, signal: AbortSignal): Promise<HeldPause>;
  /** Unmounts and deletes the pins in the directory. Missing ones are success. */
  unpin(pins: string): Promise<void>;
  /**
   * Resolves when the process has ended (pidfd); works for one that an earlier daemon made. Rejects at the abort.
   */
  watch(process: ProcessRef, signal: AbortSignal): Promise<void>;
  /** Makes an empty, pinned network namespace (for CNI DEL after a reboot, and for tests). */
  pinEmptyNetwork(path: string): Promise<void>;
}

export interface Output {
  readonly status: ExitStatus;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

/** A process, of any parent, whose exit status is needed. */
export interface HeldProcess extends Disposable {
  /** How it has ended; undefined while it lives. */
  status(): ExitStatus | undefined;
}

export interface Processes {
  /**
   * posix_spawn: signals and mask reset, own session, no descriptor beyond those named, soft limit of files 1024. With
   * `joinFiles` it resolves when the program begins, and throws where a group or the program is refused.
   */
  spawn(request: SpawnRequest): Promise<Child>;
  /** Spawns, feeds `input`, collects at most `limit` bytes of each stream (the rest is dropped), SIGKILLs at abort. */
  run(
    request: SpawnRequest & { input?: string | Uint8Array; limit?: number },
    signal: AbortSignal,
  ): Promise<Output>;
  /**
   * An immutable copy of a program (sealed memfd), to be executed by its path until the daemon ends; undefined where this
   * node must execute programs from their files. Throws KernelRefused where the kernel executes no such copies.
   */
  seal(name: string, program: Uint8Array): { readonly path: string } | undefined;
  /** The reference of a living process (zombies count as dead); undefined where there is none. */
  reference(pid: number): ProcessRef | undefined;
  /** Whether this very process lives. */
  alive(process: ProcessRef): boolean;
  /** Takes a descriptor of a living process; undefined where it has ended, and before Linux 6.15. */
  hold(process: ProcessRef): HeldProcess | undefined;
  /** What it executes, as /proc/PID/exe leads there; undefined where it has ended. */
  executable(process: ProcessRef): string | undefined;
  /**
   * Those whose environment, as they were started with it, has this variable: found without a record, so that a crash
   * right behind a start loses none. Reads the environment of all processes: for starts of the daemon.
   */
  withVariable(name: string, value: string): ProcessRef[];
  /** Sends a signal through a pidfd after checking identity; false where the process is gone. */
  signal(process: ProcessRef, signal: number): boolean;
  /** Wanted adjustment, clamped to what the daemon may set; the clamp is logged once. Returns what is set. */
  setOomScoreAdj(pid: number, wanted: number): number;
  /** The lowest oom_score_adj that this daemon may give a child. */
  readonly minOomScoreAdj: number;
  readonly bootId: string;
}

export type CgroupVersion = 1 | 2;

export interface Cgroups {
  readonly version: CgroupVersion;
  /** The controllers that can be used. */
  readonly controllers: ReadonlySet<string>;
  /** Makes the group with its parents, on v2 with their controllers; FailedPrecondition: see cgroup-delegation.ts. */
  create(path: string): Promise<void>;
  /** On v2: makes the group of pods and enables its controllers for them. Never throws: failures are in `trouble`. */
  prepare(path: string): Promise<void>;
  /** What is wrong with the groups. While no pod can be made, reading it retries `prepare` at intervals. */
  readonly trouble: Trouble | undefined;
  /**
   * Makes a bare group below one that may hold processes: no controllers are enabled for it, it serves to name and kill
   * processes. On v1 it exists in the freezer's hierarchy alone. NotFound: the group above is gone.
   */
  createChild(path: string): Promise<void>;
  /**
   * Moves a process in. From outside that waits for grace periods of RCU: up to 12 ms on v1. What crisp starts
   * joins by itself (`joinFiles`).
   */
  join(path: string, pid: number): Promise<void>;
  /**
   * To be called before an OCI runtime moves a process, within so many milliseconds: saves it the wait for the kernel's lock.
   */
  expectTaskMigration(forMs: number): void;
  /** The control files by which a thread joins a group made by `create`, whether or not it exists yet. */
  joinFiles(path: string): string[];
  /** The pids in the group and below it. Missing: none. */
  processes(path: string): number[];
  /**
   * Kills all in it and below: cgroup.kill on v2, freeze-kill-thaw on v1. Resolves when it is empty; rejects at the abort
   * (with the code of its reason), naming the remaining processes. Refuses a group that contains the daemon.
   */
  kill(path: string, signal: AbortSignal): Promise<void>;
  /** Sends a signal to each process of the group and below, once. */
  signalAll(path: string, signal: number): void;
  /** Removes the group and those below, in every hierarchy. Missing: success. Busy: retried until the abort. */
  remove(path: string, signal: AbortSignal): Promise<void>;
  /** The path of a control file, whether or not it exists; undefined where its controller is not mounted. */
  file(path: string, name: string): string | undefined;
  /** Content of a control file, trimmed; undefined where it is missing. On v1 the file's prefix names the hierarchy. */
  read(path: string, file: string): string | undefined;
  write(path: string, file: string, value: string): Promise<void>;
  exists(path: string): boolean;
  /** The groups of this name in the whole tree. Walks all groups: not for frequent use. */
  find(name: string): string[];
  /** The group's directories: one on v2, on v1 one in each hierarchy that has the group. Missing: none. */
  directories(path: string): string[];
  /** How many processes of the group the OOM killer has ended. */
  oomKills(path: string): number;
}
