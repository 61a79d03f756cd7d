/** The parts of the OCI runtime specification (1.0.2 to 1.3) that crisp writes; field names are the specification's. */

export interface OciMount {
  destination: string;
  type?: string;
  source?: string;
  options?: string[];
  uidMappings?: OciIdMapping[];
  gidMappings?: OciIdMapping[];
}

export interface OciIdMapping {
  containerID: number;
  hostID: number;
  size: number;
}

export interface OciProcess {
  terminal: boolean;
  consoleSize?: { width: number; height: number };
  user: { uid: number; gid: number; umask?: number; additionalGids?: number[] };
  args: string[];
  env: string[];
  cwd: string;
  capabilities?: Record<'bounding' | 'effective' | 'inheritable' | 'permitted' | 'ambient', string[]>;
  rlimits?: { type: string; hard: bigint | number; soft: bigint | number }[];
  noNewPrivileges?: boolean;
  apparmorProfile?: string;
  selinuxLabel?: string;
  oomScoreAdj?: number;
  ioPriority?: { class: string; priority: number };
  scheduler?: OciScheduler;
}

/** Since OCI 1.1. Times in nanoseconds. */
export interface OciScheduler {
  policy: string;
  nice?: number;
  priority?: number;
  flags?: string[];
  runtime?: bigint | number;
  deadline?: bigint | number;
  period?: bigint | number;
}

export interface OciSeccomp {
  defaultAction: string;
  defaultErrnoRet?: number;
  architectures?: string[];
  listenerPath?: string;
  listenerMetadata?: string;
  flags?: string[];
  syscalls?: {
    names: string[];
    action: string;
    errnoRet?: number;
    args?: { index: number; value: number | bigint; valueTwo?: number | bigint; op: string }[];
  }[];
}

export interface OciDeviceRule {
  allow: boolean;
  type?: string;
  major?: number;
  minor?: number;
  access?: string;
}

interface OciThrottle {
  major: number;
  minor: number;
  rate: number;
}

export interface OciBlockIo {
  weight?: number;
  weightDevice?: { major: number; minor: number; weight: number }[];
  throttleReadBpsDevice?: OciThrottle[];
  throttleWriteBpsDevice?: OciThrottle[];
  throttleReadIOPSDevice?: OciThrottle[];
  throttleWriteIOPSDevice?: OciThrottle[];
}

export interface OciResources {
  devices?: OciDeviceRule[];
  memory?: {
    limit?: bigint;
    reservation?: bigint;
    swap?: bigint;
    kernel?: bigint;
    kernelTCP?: bigint;
    swappiness?: bigint;
    disableOOMKiller?: boolean;
  };
  cpu?: {
    shares?: bigint;
    quota?: bigint;
    period?: bigint;
    realtimeRuntime?: bigint;
    realtimePeriod?: bigint;
    cpus?: string;
    mems?: string;
  };
  pids?: { limit: bigint };
  blockIO?: OciBlockIo;
  hugepageLimits?: { pageSize: string; limit: bigint }[];
  unified?: Record<string, string>;
}

export interface OciIntelRdt {
  closID?: string;
  l3CacheSchema?: string;
  memBwSchema?: string;
  schemata?: string[];
  enableMonitoring?: boolean;
}

export interface OciLinux {
  uidMappings?: OciIdMapping[];
  gidMappings?: OciIdMapping[];
  namespaces: { type: string; path?: string }[];
  devices?: {
    type: string;
    path: string;
    major?: number;
    minor?: number;
    fileMode?: number;
    uid?: number;
    gid?: number;
  }[];
  cgroupsPath: string;
  resources: OciResources;
  seccomp?: OciSeccomp;
  intelRdt?: OciIntelRdt;
  /** By the name on the node. */
  netDevices?: Record<string, { name: string }>;
  /** By name, with dots. */
  sysctl?: Record<string, string>;
  /** Since OCI 1.3. */
  memoryPolicy?: { mode: string; nodes: string; flags: string[] };
  maskedPaths?: string[];
  readonlyPaths?: string[];
  rootfsPropagation?: string;
  mountLabel?: string;
}

/** The points of a container's life at which hooks run (OCI runtime spec, POSIX-platform hooks). */
export const hookStages = [
  'prestart',
  'createRuntime',
  'createContainer',
  'startContainer',
  'poststart',
  'poststop',
] as const;
export type HookStage = (typeof hookStages)[number];

export const isHookStage = (text: string): text is HookStage =>
  (hookStages as readonly string[]).includes(text);

export interface OciHook {
  path: string;
  /** The first is the program's own name. */
  args?: string[];
  env?: string[];
  /** Seconds. */
  timeout?: number;
}

export interface OciSpec {
  ociVersion: '1.0.2';
  process: OciProcess;
  root: { path: string; readonly: boolean };
  hostname?: string;
  mounts: OciMount[];
  annotations: Record<string, string>;
  linux: OciLinux;
  hooks?: Partial<Record<HookStage, OciHook[]>>;
}

// Node 24 has JSON.rawJSON; the library definitions of TypeScript do not know it yet.
const rawJson = (JSON as unknown as { rawJSON(text: string): unknown }).rawJSON;

/** Digits of the smallest integer that a number does not hold. */
const LONG_INTEGER = /\d{16}/;

/** The inverse of `encodeSpec`: integers beyond what a number holds become bigint. */
export const parseSpec = (text: string): unknown =>
  LONG_INTEGER.test(text)
    ? (JSON.parse as ParseWithSource)(text, (_key, item, { source }) =>
        typeof item === 'number' &&
        !Number.isSafeInteger(item) &&
        source !== undefined &&
        /^-?\d+$/.test(source)
          ? BigInt(source)
          : item,
      )
    : JSON.parse(text);

type ParseWithSource = (
  text: string,
  reviver: (key: string, item: unknown, context: { readonly source?: string }) => unknown,
) => unknown;

/** JSON in which a bigint is a plain number with all its digits, as the OCI runtimes read int64. */
export const encodeSpec = (value: unknown): string =>
  JSON.stringify(value, (_key, item) => (typeof item === 'bigint' ? rawJson(item.toString()) : item));
