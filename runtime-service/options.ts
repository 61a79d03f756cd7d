import type { SelinuxDefaults } from '#core/model/selinux.ts';
import type { Rlimit } from './spec/process.ts';

/** What containers get where neither image nor request decides: of all handlers, or of one for its own. */
export interface HandlerDefaults {
  /** File of an OCI spec below what containers get; empty: that of all handlers, or none. */
  readonly baseRuntimeSpec: string;
  /** AppArmor profile, `unconfined` among them; empty: that of all handlers, or crisp's own. */
  readonly apparmorProfile: string;
  /** Path of the profile that RuntimeDefault means; empty: that of all handlers, or the built-in one. */
  readonly seccompProfile: string;
  /** Capabilities where nothing else is requested, with or without CAP_. Of a handler empty: those of all handlers. */
  readonly capabilities: readonly string[];
  /** Variables that neither the image nor the request sets. */
  readonly env: Readonly<Record<string, string>>;
  readonly rlimits: readonly Rlimit[];
  /** As `parseDevice` reads them. */
  readonly additionalDevices: readonly string[];
}

export interface HandlerOptions extends Partial<HandlerDefaults> {
  /** Path or name of the OCI runtime's program. */
  readonly path: string;
  /** Whether its program need not be there: crisp has the handler by itself, the configuration does not name it. */
  readonly isBuiltIn?: boolean;
  /** Arguments before the verb. */
  readonly options: readonly string[];
  /** Prefixes of the keys of the client's annotations that it gets; `run.oci.*` never passes. */
  readonly allowedAnnotations: readonly string[];
  /** A privileged container has the requested devices alone, not those of the node, and access to no others. */
  readonly privilegedWithoutHostDevices?: boolean;
  /** Together with the one above: it has access to all devices, of which it can make the nodes. */
  readonly privilegedWithoutHostDevicesAllDevicesAllowed?: boolean;
  /** On cgroup v2 containers may write to the cgroups of their own cgroup namespace. */
  readonly cgroupWritable?: boolean;
}

/** What containers of all handlers get. */
export interface ContainerDefaults extends HandlerDefaults {
  /** The nodes of devices belong to the user and group that the request names, not to those of the node. */
  readonly deviceOwnership: boolean;
  /** Paths of the host that the annotation of devices may name; empty: it is not read. */
  readonly allowedDevices: readonly string[];
  /** A user without an entry in /etc/passwd of a writable root gets one. */
  readonly passwdEntry: boolean;
  /** File of the classes of block IO that annotations name; empty: none. */
  readonly blockioFile: string;
  /** The resctrl groups that annotations may name. */
  readonly rdtClasses: readonly string[];
  /** Absolute paths that are not made where they are the missing source of a mount. */
  readonly absentSourcesToReject: readonly string[];
}

/** Plain options of the runtime service; the daemon maps its configuration onto them. Durations in milliseconds. */
export interface RuntimeOptions {
  /** Where records live; outlives a reboot. */
  readonly root: string;
  /** Where bundles, exit files and the OCI runtimes' own state live; a tmpfs. */
  readonly state: string;
  readonly conmon: string;
  /** Bytes at which it begins a container's log anew; 0: never. */
  readonly logBytes: number;
  /** OCI runtimes by handler's name; the name `''` means `defaultHandler`. */
  readonly handlers: Readonly<Record<string, HandlerOptions>>;
  /** Empty: the first of the handlers that works on this machine. */
  readonly defaultHandler: string;
  readonly defaults: ContainerDefaults;
  /** Directories of CDI specs; a later one has precedence. */
  readonly cdiDirs: readonly string[];
  /** Directories of OCI hooks; a file of a later one replaces one of the same name. */
  readonly hooksDirs: readonly string[];
  readonly timeouts: {
    readonly create: number;
    /** How long a killed container may take to be gone. */
    readonly kill: number;
    /** One call of the OCI runtime that is not named above. */
    readonly runtime: number;
    /** How long a creation waits for the labels of its volumes. */
    readonly relabel: number;
  };
  /** Absent: SELinux is not in use. */
  readonly selinux?: SelinuxDefaults;
}
