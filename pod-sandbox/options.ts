/** The plain options of the pod service; daemon/options.ts fills them from the config. Times are milliseconds. */
import type { SelinuxDefaults } from '#core/model/selinux.ts';
import type { CgroupDriverName } from './cgroup/driver.ts';
import type { IpPreference } from './network/cni/ip-preference.ts';

/**
 * Who makes a handler's sandboxes: crisp's own pause process, or the runtime itself (virtual machines). Only `pause`
 * is implemented; a request for the other is refused with Unimplemented.
 */
export type SandboxKind = 'pause' | 'runtime';

export interface SandboxHandler {
  readonly sandbox: SandboxKind;
  /** Directory of its pods' CNI configurations; absent or empty: that of all. */
  readonly confDir?: string;
  /** Of the networks there; absent or 0: as for all. */
  readonly maxNetworks?: number;
  /** Prefixes of the keys of annotations that may change how its pods are made; absent: none. */
  readonly allowedAnnotations?: readonly string[];
}

export interface Deadlines {
  readonly record: number;
  readonly namespaces: number;
  readonly files: number;
  readonly cgroup: number;
  /** CNI ADD of the whole list. */
  readonly networkAdd: number;
  /** CNI DEL of the whole list. */
  readonly networkDel: number;
  /** All containers of a pod killed. */
  readonly containers: number;
  /** Each other undo: unmount, unpin, end of the pause process, removal of the cgroup. */
  readonly undo: number;
  /** How long a retry waits for the call that it joined. */
  readonly join: number;
}

/** The kubelet's timeout is four minutes for RunPodSandbox and two for other calls; all limits are well within that. */
export const defaultDeadlines: Deadlines = {
  record: 10_000,
  namespaces: 20_000,
  files: 20_000,
  cgroup: 20_000,
  networkAdd: 120_000,
  networkDel: 60_000,
  containers: 60_000,
  undo: 30_000,
  join: 230_000,
};

/** auto: in this process where crisp supports the configuration, with the effects of the plugins; exec: by the plugins. */
export type CniMode = 'auto' | 'exec';

export interface NetworkOptions {
  /** Directory of CNI configurations; the first by name count. May be missing. */
  readonly confDir: string;
  /** Of the network that counts; absent or empty: that of the first file by name. */
  readonly name?: string;
  /** How many networks a pod is attached to, the first by the names of their files; 0: all. 1 where absent. */
  readonly maxNetworks?: number;
  /** Which address is a pod's main one; `cni`, the plugins' order, where absent. */
  readonly ipPreference?: IpPreference;
  /** Whether ports of the node are mapped to pods; true where absent. */
  readonly hostPorts?: boolean;
  /** Directories of CNI plugins, searched in order. */
  readonly binDirs: readonly string[];
  /** Environment of the plugins besides CNI_*: PATH at least. */
  readonly environment: Readonly<Record<string, string>>;
  /** exec where absent. */
  readonly native?: CniMode;
  /** Template of the configuration that is made from the node's pod ranges; none where absent or empty. */
  readonly template?: string;
  /** Milliseconds between searches for what lost pods hold of networks; none where absent or 0. */
  readonly gcInterval?: number;
  /** Milliseconds until what such a search has found is looked at again, and released; a minute where absent. */
  readonly gcRecheck?: number;
  /** Bytes that a plugin may print; more is an error. */
  readonly maxOutput?: number;
}

export interface PodSandboxOptions {
  /** Survives a reboot: `<root>/sandboxes/<id>/record.json`. */
  readonly root: string;
  /** A tmpfs such as /run/crisp: `<state>/sandboxes/<id>/` holds pins, hostname, resolv.conf, shm. */
  readonly state: string;
  /** By the names of handlers. */
  readonly handlers: Readonly<Record<string, SandboxHandler>>;
  readonly cgroupDriver: CgroupDriverName;
  /** Where crisp's own pod cgroups are made: absolute below the cgroup root, such as `/crisp`. */
  readonly cgroupPrefix: string;
  readonly network: NetworkOptions;
  /** Bytes of /dev/shm; 64 MiB where absent. */
  readonly shmBytes?: number;
  /** Wanted oom_score_adj of pause processes; -998 where absent. */
  readonly oomScoreAdj?: number;
  /** Set in each pod that has the namespace and does not set them itself; in dotted or slash form. */
  readonly defaultSysctls?: Readonly<Record<string, string>>;
  /** Copied for pods without DNS config; /etc/resolv.conf where absent. */
  readonly resolvConf?: string;
  readonly deadlines?: Partial<Deadlines>;
  /** Absent: SELinux is not in use. */
  readonly selinux?: SelinuxDefaults;
}
