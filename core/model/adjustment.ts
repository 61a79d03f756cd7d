/**
 * What NRI plugins change of a container: the merged outcome of all plugins, with nothing left to resolve. Names and units are
 * those of the OCI runtime specification. An absent field: no plugin has asked for it.
 */

/** Entries by name: those that are set or added, and those that are taken away. A name is in one of them at most. */
export interface EntryChanges<T> {
  readonly set: Readonly<Record<string, T>>;
  readonly removed: readonly string[];
}

export interface AdjustedMount {
  /** Absolute, inside the container. */
  readonly destination: string;
  readonly type: string;
  readonly source: string;
  readonly options: readonly string[];
}

export interface AdjustedHook {
  readonly path: string;
  readonly args: readonly string[];
  readonly env: readonly string[];
  /** Seconds. */
  readonly timeout?: number;
}

export interface AdjustedDevice {
  readonly path: string;
  readonly type: string;
  readonly major: number;
  readonly minor: number;
  readonly fileMode?: number;
  readonly uid?: number;
  readonly gid?: number;
}

/** Limits of a container, each of its own: what is absent stays as it is, 0 is a value. */
export interface ResourceChanges {
  readonly memory?: {
    /** Bytes, as all of these but swappiness. */
    readonly limit?: bigint;
    readonly reservation?: bigint;
    readonly swap?: bigint;
    readonly kernel?: bigint;
    readonly kernelTcp?: bigint;
    readonly swappiness?: bigint;
    readonly disableOomKiller?: boolean;
    readonly useHierarchy?: boolean;
  };
  readonly cpu?: {
    readonly shares?: bigint;
    /** Microseconds in each period; -1: no limit. */
    readonly quota?: bigint;
    /** Microseconds. */
    readonly period?: bigint;
    readonly realtimeRuntime?: bigint;
    readonly realtimePeriod?: bigint;
    readonly cpus?: string;
    readonly mems?: string;
  };
  /** Bytes by size of page, as in `2MB`. */
  readonly hugepageLimits?: Readonly<Record<string, bigint>>;
  /** Classes of the node's configuration. */
  readonly blockioClass?: string;
  readonly rdtClass?: string;
  /** cgroup v2 files by name. */
  readonly unified?: Readonly<Record<string, string>>;
  readonly pids?: bigint;
}

/** The policy of seccomp(2) as the OCI runtime specification has it. */
export interface AdjustedSeccomp {
  readonly defaultAction: string;
  readonly defaultErrnoRet?: number;
  readonly architectures: readonly string[];
  readonly flags: readonly string[];
  readonly listenerPath?: string;
  readonly listenerMetadata?: string;
  readonly syscalls: readonly {
    readonly names: readonly string[];
    readonly action: string;
    readonly errnoRet?: number;
    readonly args: readonly { index: number; value: bigint; valueTwo: bigint; op: string }[];
  }[];
}

/** A rule of the cgroup's device filter. An absent number: any. */
export interface AdjustedDeviceRule {
  readonly allow: boolean;
  /** `a`: all, the numbers do not count. */
  readonly type: string;
  readonly major?: number;
  readonly minor?: number;
  /** Letters of `rwm`. */
  readonly access: string;
}

/** Of sched_setattr(2); policy and flags by their names in the OCI runtime specification. `SCHED_NONE`: unset. */
export interface AdjustedScheduler {
  readonly policy: string;
  readonly nice: number;
  readonly priority: number;
  readonly flags: readonly string[];
  /** Nanoseconds, as the two after it. */
  readonly runtime: bigint;
  readonly deadline: bigint;
  readonly period: bigint;
}

export interface ContainerAdjustment {
  readonly annotations?: EntryChanges<string>;
  readonly env?: EntryChanges<string>;
  /** By destination; a mount that replaces another is in `set` alone. In this order. */
  readonly mounts?: { readonly set: readonly AdjustedMount[]; readonly removed: readonly string[] };
  /** Added behind those that are there, by the stage's name in the OCI runtime specification. */
  readonly hooks?: Readonly<Record<string, readonly AdjustedHook[]>>;
  /** Replaces all. */
  readonly args?: readonly string[];
  /** Each replaces the one of its type. */
  readonly rlimits?: readonly { readonly type: string; readonly soft: bigint; readonly hard: bigint }[];
  /** Fully qualified names. */
  readonly cdiDevices?: readonly string[];
  /** By path; device and cgroup rule. */
  readonly devices?: { readonly set: readonly AdjustedDevice[]; readonly removed: readonly string[] };
  /** Added behind those that are there, in this order. */
  readonly deviceRules?: readonly AdjustedDeviceRule[];
  readonly resources?: ResourceChanges;
  /** As the OCI runtime takes it in `cgroupsPath`. */
  readonly cgroupsPath?: string;
  readonly oomScoreAdj?: number;
  /** ioprio_set(2): the class by its name in the OCI runtime specification. `class` IOPRIO_CLASS_NONE: unset. */
  readonly ioPriority?: { readonly class: string; readonly priority: number };
  readonly seccompPolicy?: AdjustedSeccomp;
  /** By type; an empty path: a new one. */
  readonly namespaces?: EntryChanges<{ readonly path: string }>;
  readonly sysctl?: EntryChanges<string>;
  /** By the name on the node. */
  readonly netDevices?: EntryChanges<{ readonly name: string }>;
  readonly scheduler?: AdjustedScheduler;
  /** `remove`: the container has none, whatever the rest says. */
  readonly rdt?: {
    readonly closID?: string;
    readonly schemata?: readonly string[];
    readonly enableMonitoring?: boolean;
    readonly remove: boolean;
  };
  readonly memoryPolicy?: {
    readonly mode: string;
    readonly nodes: string;
    readonly flags: readonly string[];
  };
}

/**
 * Which plugin has changed what of a container, for its record: by field as in `env` or `memory.limit`, and by entry where a
 * field has several (`env` FOO). Plugins as `10-name`; several that have added to `hooks` or `deviceRules` with a comma between
 * them. A plugin that has taken an entry away owns it as well. Values are not in it: they may be secrets.
 */
export interface AdjustmentOwners {
  readonly fields: Readonly<Record<string, string>>;
  readonly entries: Readonly<Record<string, Readonly<Record<string, string>>>>;
}
