/** PodSandboxConfig of the wire → the pod service's own type. */
import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import {
  defaultLinux,
  type SandboxConfig,
  type SandboxLinux,
  type SandboxResources,
  type SandboxSecurity,
} from '#pod-sandbox/index.ts';
import { namespaceMode, profileType, protocol } from './enums.ts';

/** Throws InvalidArgument where config or metadata are missing or an enum is unknown; the service judges the rest. */
export function sandboxConfig(config: cri.PodSandboxConfig | null): SandboxConfig {
  if (!config?.metadata) {
    throw new CrispError('InvalidArgument', 'pod sandbox config: metadata is missing', {
      hint: 'set name, uid, namespace and attempt',
    });
  }
  const { name, uid, namespace, attempt } = config.metadata;
  return {
    metadata: { name, uid, namespace, attempt },
    hostname: config.hostname,
    logDirectory: config.logDirectory,
    dns: config.dnsConfig
      ? {
          servers: config.dnsConfig.servers,
          searches: config.dnsConfig.searches,
          options: config.dnsConfig.options,
        }
      : undefined,
    portMappings: config.portMappings.map((mapping) => ({
      protocol: protocol(mapping.protocol),
      containerPort: mapping.containerPort,
      hostPort: mapping.hostPort,
      hostIp: mapping.hostIp,
    })),
    labels: config.labels,
    annotations: config.annotations,
    linux: config.linux ? sandboxLinux(config.linux) : defaultLinux,
  };
}

function sandboxLinux(linux: cri.LinuxPodSandboxConfig): SandboxLinux {
  return {
    cgroupParent: linux.cgroupParent,
    security: linux.securityContext ? sandboxSecurity(linux.securityContext) : defaultLinux.security,
    sysctls: linux.sysctls,
    overhead: linux.overhead ? sandboxResources(linux.overhead) : undefined,
    resources: linux.resources ? sandboxResources(linux.resources) : undefined,
  };
}

function sandboxSecurity(context: cri.LinuxSandboxSecurityContext): SandboxSecurity {
  const options = context.namespaceOptions;
  const selinux = context.selinuxOptions;
  return {
    namespaces: options ? namespaces(options) : defaultLinux.security.namespaces,
    privileged: context.privileged,
    readonlyRootfs: context.readonlyRootfs,
    runAsUser: context.runAsUser ? toBigInt(context.runAsUser.value) : undefined,
    runAsGroup: context.runAsGroup ? toBigInt(context.runAsGroup.value) : undefined,
    supplementalGroups: context.supplementalGroups.map(toBigInt),
    seccomp: profile(context.seccomp, 'seccomp'),
    apparmor: profile(context.apparmor, 'apparmor'),
    selinux: selinux
      ? { user: selinux.user, role: selinux.role, type: selinux.type, level: selinux.level }
      : undefined,
  };
}

function namespaces(options: cri.NamespaceOption): SandboxSecurity['namespaces'] {
  const user = options.usernsOptions;
  const mappings = (list: readonly cri.IDMapping[]) =>
    list.map(({ containerId, hostId, length }) => ({ containerId, hostId, length }));
  return {
    network: namespaceMode(options.network, 'namespace_options.network'),
    pid: namespaceMode(options.pid, 'namespace_options.pid'),
    ipc: namespaceMode(options.ipc, 'namespace_options.ipc'),
    user: user
      ? {
          mode: namespaceMode(user.mode, 'userns_options.mode'),
          uids: mappings(user.uids),
          gids: mappings(user.gids),
        }
      : undefined,
  };
}

const PROFILE_WORDS = {
  RuntimeDefault: 'runtimeDefault',
  Unconfined: 'unconfined',
  Localhost: 'localhost',
} as const;

const profile = (wanted: cri.SecurityProfile | null, field: string): SandboxSecurity['seccomp'] =>
  wanted
    ? { type: PROFILE_WORDS[profileType(wanted.profileType, field)], localhostRef: wanted.localhostRef }
    : undefined;

export function sandboxResources(wanted: cri.LinuxContainerResources): SandboxResources {
  return {
    cpuPeriod: toBigInt(wanted.cpuPeriod),
    cpuQuota: toBigInt(wanted.cpuQuota),
    cpuShares: toBigInt(wanted.cpuShares),
    memoryLimit: toBigInt(wanted.memoryLimitInBytes),
    memorySwapLimit: toBigInt(wanted.memorySwapLimitInBytes),
    oomScoreAdj: toBigInt(wanted.oomScoreAdj),
    cpusetCpus: wanted.cpusetCpus,
    cpusetMems: wanted.cpusetMems,
    hugepageLimits: wanted.hugepageLimits.map(({ pageSize, limit }) => ({
      pageSize,
      limit: toBigInt(limit),
    })),
    unified: wanted.unified,
  };
}
