/** CRI ContainerConfig → the runtime service's type. */
import { cri, toBigInt } from '#api/cri/v1/index.ts';
import { CrispError } from '#core/errors.ts';
import { noResources } from '#core/model/resources.ts';
import type { SecurityProfile } from '#core/model/security.ts';
import type { ContainerConfig, MountRequest, SecurityContext } from '#runtime-service/index.ts';
import { groupsPolicy, namespaceMode, propagation } from './enums.ts';
import { goText } from './go-text.ts';
import { assertLabelsBounded } from './labels.ts';
import { linuxResources } from './resources.ts';
import { idMappings, securityProfile, selinuxOptions } from './security.ts';

/** The defaults of a container without a security context (contract: no `linux` block means the defaults). */
const NO_SECURITY: SecurityContext = {
  privileged: false,
  addCapabilities: [],
  dropCapabilities: [],
  pid: 'pod',
  targetId: '',
  runAsUser: undefined,
  runAsGroup: undefined,
  runAsUsername: '',
  readonlyRootfs: false,
  supplementalGroups: [],
  supplementalGroupsPolicy: 'Merge',
  noNewPrivs: false,
  maskedPaths: [],
  readonlyPaths: [],
  seccomp: undefined,
  apparmor: undefined,
  selinux: undefined,
};

/** Throws InvalidArgument where parts are missing or too long or an enum is unknown; the service validates the rest. */
export function containerConfig(config: cri.ContainerConfig | null): ContainerConfig {
  if (!config?.metadata) {
    throw new CrispError('InvalidArgument', 'container config: metadata is missing', {
      hint: 'set name and attempt',
    });
  }
  assertLabelsBounded('container config', config.labels, config.annotations);
  const { linux } = config;
  return {
    metadata: { name: config.metadata.name, attempt: config.metadata.attempt },
    image: config.image?.image ?? '',
    userSpecifiedImage: config.image?.userSpecifiedImage ?? '',
    command: config.command,
    args: config.args,
    workingDir: config.workingDir,
    envs: config.envs.map(({ key, value }) => ({ key, value: goText(value) })),
    mounts: config.mounts.map(mountRequest),
    devices: config.devices.map(({ containerPath, hostPath, permissions }) => ({
      containerPath,
      hostPath,
      permissions,
    })),
    cdiDevices: config.CDIDevices.map(({ name }) => name),
    labels: config.labels,
    annotations: config.annotations,
    logPath: config.logPath,
    stdin: config.stdin,
    stdinOnce: config.stdinOnce,
    tty: config.tty,
    resources: linux?.resources ? linuxResources(linux.resources) : noResources,
    security: linux?.securityContext ? security(linux.securityContext) : NO_SECURITY,
    stopSignal: stopSignal(config.stopSignal),
  };
}

function stopSignal(value: number): string {
  if (value === 0) return '';
  const name = cri.Signal[value];
  if (name === undefined) {
    throw new CrispError('InvalidArgument', `stop_signal: ${value} is not a value of the enum`, {
      hint: 'see the CRI v1 proto',
    });
  }
  return name
    .replace(/^SIGNAL_/, '')
    .replace('PLUS', '+')
    .replace('MINUS', '-');
}

function mountRequest(mount: cri.Mount): MountRequest {
  return {
    containerPath: mount.containerPath,
    hostPath: mount.hostPath,
    readonly: mount.readonly,
    selinuxRelabel: mount.selinuxRelabel,
    propagation: propagation(mount.propagation),
    recursiveReadOnly: mount.recursiveReadOnly,
    uidMappings: idMappings(mount.uidMappings),
    gidMappings: idMappings(mount.gidMappings),
    image: mount.image?.image ?? '',
    imageSubPath: mount.imageSubPath,
    ...(mount.mountOptions.length > 0 ? { options: mount.mountOptions } : {}),
  };
}

function security(context: cri.LinuxContainerSecurityContext): SecurityContext {
  return {
    privileged: context.privileged,
    addCapabilities: context.capabilities?.addCapabilities ?? [],
    dropCapabilities: context.capabilities?.dropCapabilities ?? [],
    pid: context.namespaceOptions
      ? namespaceMode(context.namespaceOptions.pid, 'namespace_options.pid')
      : 'pod',
    targetId: context.namespaceOptions?.targetId ?? '',
    runAsUser: context.runAsUser ? toBigInt(context.runAsUser.value) : undefined,
    runAsGroup: context.runAsGroup ? toBigInt(context.runAsGroup.value) : undefined,
    runAsUsername: context.runAsUsername,
    readonlyRootfs: context.readonlyRootfs,
    supplementalGroups: context.supplementalGroups.map(toBigInt),
    supplementalGroupsPolicy: groupsPolicy(context.supplementalGroupsPolicy),
    noNewPrivs: context.noNewPrivs,
    maskedPaths: context.maskedPaths,
    readonlyPaths: context.readonlyPaths,
    seccomp: securityProfile(context.seccomp, 'seccomp') ?? deprecatedProfile(context.seccompProfilePath),
    apparmor: apparmor(context.apparmor) ?? deprecatedProfile(context.apparmorProfile),
    selinux: selinuxOptions(context.selinuxOptions),
  };
}

const LOCALHOST = 'localhost/';

/** An AppArmor profile may have the prefix of the deprecated string form. */
function apparmor(wanted: cri.SecurityProfile | null): SecurityProfile | undefined {
  const profile = securityProfile(wanted, 'apparmor');
  return profile && { ...profile, localhostRef: withoutPrefix(profile.localhostRef) };
}

const withoutPrefix = (reference: string): string =>
  reference.startsWith(LOCALHOST) ? reference.slice(LOCALHOST.length) : reference;

/** The deprecated string form of a profile. */
function deprecatedProfile(reference: string): SecurityProfile | undefined {
  if (reference === '') return undefined;
  if (reference === 'unconfined') return { type: 'Unconfined', localhostRef: '' };
  if (reference.startsWith(LOCALHOST)) return { type: 'Localhost', localhostRef: withoutPrefix(reference) };
  return { type: 'RuntimeDefault', localhostRef: '' };
}
