/** CRI PodSandboxConfig → the pod service's type. */
import { type cri, toBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import {
  defaultLinux,
  type SandboxConfig,
  type SandboxLinux,
  type SandboxSecurity,
} from '#pod-sandbox/index.ts';
import { namespaceMode, protocol } from './enums.ts';
import { assertLabelsBounded } from './labels.ts';
import { linuxResources } from './resources.ts';
import { idMappings, securityProfile, selinuxOptions } from './security.ts';

/** Throws InvalidArgument where parts are missing or too long or an enum is unknown; the service validates the rest. */
export function sandboxConfig(config: cri.PodSandboxConfig | null): SandboxConfig {
  if (!config?.metadata) {
    throw new CrispError('InvalidArgument', 'pod sandbox config: metadata is missing', {
      hint: 'set name, uid, namespace and attempt',
    });
  }
  assertLabelsBounded('pod sandbox config', config.labels, config.annotations);
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
    overhead: linux.overhead ? linuxResources(linux.overhead) : undefined,
    resources: linux.resources ? linuxResources(linux.resources) : undefined,
  };
}

function sandboxSecurity(context: cri.LinuxSandboxSecurityContext): SandboxSecurity {
  const options = context.namespaceOptions;
  return {
    namespaces: options ? namespaces(options) : defaultLinux.security.namespaces,
    privileged: context.privileged,
    readonlyRootfs: context.readonlyRootfs,
    runAsUser: context.runAsUser ? toBigInt(context.runAsUser.value) : undefined,
    runAsGroup: context.runAsGroup ? toBigInt(context.runAsGroup.value) : undefined,
    supplementalGroups: context.supplementalGroups.map(toBigInt),
    seccomp: securityProfile(context.seccomp, 'seccomp'),
    apparmor: securityProfile(context.apparmor, 'apparmor'),
    selinux: selinuxOptions(context.selinuxOptions),
  };
}

function namespaces(options: cri.NamespaceOption): SandboxSecurity['namespaces'] {
  const user = options.usernsOptions;
  return {
    network: namespaceMode(options.network, 'namespace_options.network'),
    pid: namespaceMode(options.pid, 'namespace_options.pid'),
    ipc: namespaceMode(options.ipc, 'namespace_options.ipc'),
    user: user
      ? {
          mode: namespaceMode(user.mode, 'userns_options.mode'),
          uids: idMappings(user.uids),
          gids: idMappings(user.gids),
        }
      : undefined,
  };
}
