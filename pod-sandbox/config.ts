/**
 * The configuration of a pod: `cri/` maps the wire onto these types, `validation.ts` refuses what cannot be made. Everything here is plain data that survives JSON (with bigint, see core/record-store.ts); 64-bit
 * numbers of the wire are bigint. Maps from a client are records without a prototype, so that a key such as
 * `__proto__` or `constructor` is only a key.
 */
import type { SandboxMetadata } from '#core/model/pod.ts';
import type { LinuxResources } from '#core/model/resources.ts';
import type { IdMapping, NamespaceMode, SecurityProfile, SelinuxOptions } from '#core/model/security.ts';

export interface DnsConfig {
  readonly servers: readonly string[];
  readonly searches: readonly string[];
  readonly options: readonly string[];
}

export interface PortMapping {
  readonly protocol: 'tcp' | 'udp' | 'sctp';
  readonly containerPort: number;
  /** 0: not published. */
  readonly hostPort: number;
  /** Empty: all addresses of the node. */
  readonly hostIp: string;
}

export interface UserNamespace {
  /** `node`: no user namespace. Only `pod` and `node` are valid. */
  readonly mode: NamespaceMode;
  readonly uids: readonly IdMapping[];
  readonly gids: readonly IdMapping[];
}

export interface NamespaceOptions {
  readonly network: NamespaceMode;
  readonly pid: NamespaceMode;
  readonly ipc: NamespaceMode;
  readonly user: UserNamespace | undefined;
}

export interface SandboxSecurity {
  readonly namespaces: NamespaceOptions;
  readonly privileged: boolean;
  readonly readonlyRootfs: boolean;
  readonly runAsUser: bigint | undefined;
  readonly runAsGroup: bigint | undefined;
  readonly supplementalGroups: readonly bigint[];
  /** undefined: unconfined (contract section 5). */
  readonly seccomp: SecurityProfile | undefined;
  readonly apparmor: SecurityProfile | undefined;
  readonly selinux: SelinuxOptions | undefined;
}

export interface SandboxLinux {
  /** The cgroup that the kubelet made for the pod, in the driver's form; empty: crisp makes its own. */
  readonly cgroupParent: string;
  readonly security: SandboxSecurity;
  readonly sysctls: Readonly<Record<string, string>>;
  readonly overhead: LinuxResources | undefined;
  readonly resources: LinuxResources | undefined;
}

export interface SandboxConfig {
  readonly metadata: SandboxMetadata;
  /** Empty: the node's where the pod has the node's network, else made of the sandbox id. */
  readonly hostname: string;
  /** Absolute, or empty: containers' output is discarded. */
  readonly logDirectory: string;
  /** undefined: a copy of the node's resolv.conf; all lists empty: an empty file. */
  readonly dns: DnsConfig | undefined;
  readonly portMappings: readonly PortMapping[];
  readonly labels: Readonly<Record<string, string>>;
  readonly annotations: Readonly<Record<string, string>>;
  readonly linux: SandboxLinux;
}

/** For a request without a `linux` block. */
export const defaultLinux: SandboxLinux = {
  cgroupParent: '',
  security: {
    namespaces: { network: 'pod', pid: 'pod', ipc: 'pod', user: undefined },
    privileged: false,
    readonlyRootfs: false,
    runAsUser: undefined,
    runAsGroup: undefined,
    supplementalGroups: [],
    seccomp: undefined,
    apparmor: undefined,
    selinux: undefined,
  },
  sysctls: {},
  overhead: undefined,
  resources: undefined,
};

/** Whether both are sandboxes of one pod, of any attempt. */
export const samePod = ({ metadata: a }: SandboxConfig, { metadata: b }: SandboxConfig): boolean =>
  a.namespace === b.namespace && a.name === b.name && a.uid === b.uid;

/** Whether both request the same pod; the order of map keys does not count. */
export const sameConfig = (a: SandboxConfig, b: SandboxConfig): boolean => canonical(a) === canonical(b);

const canonical = (value: unknown): string =>
  JSON.stringify(value, (_key, item: unknown) => {
    if (typeof item === 'bigint') return `${item}n`;
    if (typeof item !== 'object' || item === null || Array.isArray(item)) return item;
    // A list of pairs, not an object: integer-like keys and `__proto__` would not keep their place there.
    return Object.entries(item)
      .filter(([, entry]) => entry !== undefined)
      .sort(([x], [y]) => (x < y ? -1 : 1));
  });

/** Whether the pod has a user namespace of its own. */
export const ownUserNamespace = (config: SandboxConfig): UserNamespace | undefined => {
  const { user } = config.linux.security.namespaces;
  return user?.mode === 'pod' ? user : undefined;
};
