/** What a client asks of a container, in domain terms; cri/ maps the wire onto it. */
import { posix } from 'node:path';
import { CrispError } from '#core/errors.ts';
import { type LinuxResources, MAX_OOM_SCORE_ADJ } from '#core/model/resources.ts';
import type { IdMapping, NamespaceMode, SecurityProfile, SelinuxOptions } from '#core/model/security.ts';

export type Labels = Readonly<Record<string, string>>;

export interface ContainerMetadata {
  readonly name: string;
  readonly attempt: number;
}

export type MountPropagation = 'private' | 'host-to-container' | 'bidirectional';

/** A mount as requested; echoed unchanged in the status. */
export interface MountRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  readonly readonly: boolean;
  readonly selinuxRelabel: boolean;
  readonly propagation: MountPropagation;
  readonly recursiveReadOnly: boolean;
  readonly uidMappings: readonly IdMapping[];
  readonly gidMappings: readonly IdMapping[];
  /** An image volume: the image's reference; empty for a bind mount. */
  readonly image: string;
  readonly imageSubPath: string;
  /** Of `mountOptions`; absent where there are none. */
  readonly options?: readonly string[];
}

/** The options that the API knows: flags of one mount, which take rights away (KEP-5855). */
export const mountOptions: readonly string[] = ['noexec', 'nodev', 'nosuid'];

export interface DeviceRequest {
  readonly containerPath: string;
  readonly hostPath: string;
  /** Of `rwm`. */
  readonly permissions: string;
}

export interface SecurityContext {
  readonly privileged: boolean;
  readonly addCapabilities: readonly string[];
  readonly dropCapabilities: readonly string[];
  readonly pid: NamespaceMode;
  /** Container whose pid namespace is joined; with `pid: 'target'`. */
  readonly targetId: string;
  readonly runAsUser: bigint | undefined;
  readonly runAsGroup: bigint | undefined;
  readonly runAsUsername: string;
  readonly readonlyRootfs: boolean;
  readonly supplementalGroups: readonly bigint[];
  readonly supplementalGroupsPolicy: 'Merge' | 'Strict';
  readonly noNewPrivs: boolean;
  readonly maskedPaths: readonly string[];
  readonly readonlyPaths: readonly string[];
  /** No profile means unconfined (contract: a nil message). */
  readonly seccomp: SecurityProfile | undefined;
  readonly apparmor: SecurityProfile | undefined;
  readonly selinux: SelinuxOptions | undefined;
}

export interface ContainerConfig {
  readonly metadata: ContainerMetadata;
  /** What the kubelet sends is the id of the pull; crictl sends a name. */
  readonly image: string;
  readonly userSpecifiedImage: string;
  readonly command: readonly string[];
  readonly args: readonly string[];
  readonly workingDir: string;
  readonly envs: readonly { readonly key: string; readonly value: string }[];
  readonly mounts: readonly MountRequest[];
  readonly devices: readonly DeviceRequest[];
  /** Qualified names, `vendor/class=name`; more may stand in the annotations. */
  readonly cdiDevices: readonly string[];
  readonly labels: Labels;
  readonly annotations: Labels;
  /** Relative to the pod's log directory; empty: no log. */
  readonly logPath: string;
  readonly stdin: boolean;
  readonly stdinOnce: boolean;
  readonly tty: boolean;
  readonly resources: LinuxResources;
  readonly security: SecurityContext;
  /** `SIGTERM`, `SIGRTMIN+3`, …; empty: the image's, else SIGTERM. */
  readonly stopSignal: string;
}

const MAX_NAME = 253;

/** Refuses what no container can be made of; nothing has happened yet. Throws InvalidArgument naming the field. */
export function validateConfig(config: ContainerConfig): void {
  const refuse = (message: string, hint: string): never => {
    throw new CrispError('InvalidArgument', `container config: ${message}`, { hint });
  };
  const { metadata, security } = config;
  if (metadata.name === '') refuse('metadata.name is empty', 'name the container');
  if (metadata.name.length > MAX_NAME)
    refuse(`metadata.name is longer than ${MAX_NAME} characters`, 'shorten it');
  if (config.image === '') refuse('image.image is empty', 'name an image or its id');
  validatePaths(config, refuse);
  for (const env of config.envs) {
    if (env.key === '' || env.key.includes('=') || `${env.key}${env.value}`.includes('\0')) {
      refuse(`envs: ${JSON.stringify(env.key)} is no variable's name or holds a NUL`, 'correct the variable');
    }
  }
  if (
    security.runAsGroup !== undefined &&
    security.runAsUser === undefined &&
    security.runAsUsername === ''
  ) {
    refuse('run_as_group is set without run_as_user or run_as_username', 'set the user too');
  }
  if (security.runAsUser !== undefined && security.runAsUsername !== '') {
    refuse('run_as_user and run_as_username are both set', 'set one of them');
  }
  for (const id of [security.runAsUser, security.runAsGroup, ...security.supplementalGroups]) {
    if (id !== undefined && (id < 0n || id > 4294967294n))
      refuse(`id ${id} is out of range`, 'use 0 to 2^32-2');
  }
  const { oomScoreAdj } = config.resources;
  if (oomScoreAdj < -MAX_OOM_SCORE_ADJ || oomScoreAdj > MAX_OOM_SCORE_ADJ)
    refuse(
      `oom_score_adj ${oomScoreAdj} is out of range`,
      `use -${MAX_OOM_SCORE_ADJ} to ${MAX_OOM_SCORE_ADJ}`,
    );
  if (security.pid === 'target' && security.targetId === '')
    refuse('pid mode TARGET without target_id', 'set target_id');
}

function validatePaths(config: ContainerConfig, refuse: (message: string, hint: string) => never): void {
  if (config.logPath.split('/').includes('..'))
    refuse('log_path leaves the log directory', 'use a path inside it');
  if (config.workingDir !== '' && !config.workingDir.startsWith('/')) {
    refuse(`working_dir ${config.workingDir} is not absolute`, 'use an absolute path');
  }
  for (const mount of config.mounts) validateMount(mount, refuse);
  for (const device of config.devices) {
    if (!/^[rwm]*$/.test(device.permissions)) {
      refuse(`devices: permissions ${device.permissions} of ${device.hostPath}`, 'use letters of rwm');
    }
  }
  const { maskedPaths, readonlyPaths } = config.security;
  const texts = [config.metadata.name, config.workingDir, config.logPath, ...config.command, ...config.args];
  texts.push(...maskedPaths, ...readonlyPaths);
  for (const mount of config.mounts) texts.push(mount.containerPath, mount.hostPath, mount.imageSubPath);
  for (const device of config.devices) texts.push(device.containerPath, device.hostPath);
  if (texts.some((text) => text.includes('\0'))) refuse('a name, path or argument holds a NUL', 'remove it');
}

function validateMount(mount: MountRequest, refuse: (message: string, hint: string) => never): void {
  if (mount.containerPath === '') {
    refuse('mounts: container_path is empty', 'name the path in the container');
  }
  if (posix.normalize(`/${mount.containerPath}`) === '/') {
    refuse(
      `mounts: container_path ${mount.containerPath} is the container's root`,
      'mount it below /, or use it as the image',
    );
  }
  if (mount.recursiveReadOnly && !mount.readonly) {
    refuse(`mounts: ${mount.containerPath} is recursive_read_only but not readonly`, 'set readonly too');
  }
  const unknown = mount.options?.find((option) => !mountOptions.includes(option));
  if (unknown !== undefined) {
    refuse(
      `mounts: mount_options of ${mount.containerPath} has ${JSON.stringify(unknown)}`,
      `give some of ${mountOptions.join(', ')}`,
    );
  }
  if (mount.image !== '') {
    if (mount.hostPath !== '')
      refuse(`mounts: ${mount.containerPath} has a host_path and an image`, 'set one of them');
    if (!mount.readonly)
      refuse(`mounts: ${mount.containerPath} is an image volume that is not readonly`, 'set readonly');
    if (mount.imageSubPath.startsWith('/') || mount.imageSubPath.split('/').includes('..'))
      refuse(
        `mounts: image_sub_path ${mount.imageSubPath} leaves the image`,
        'use a relative path without ..',
      );
    return;
  }
  if (mount.imageSubPath !== '')
    refuse(`mounts: ${mount.containerPath} has an image_sub_path and no image`, 'set image, or drop it');
  if (!mount.hostPath.startsWith('/')) {
    refuse(`mounts: host_path ${JSON.stringify(mount.hostPath)} is not absolute`, 'use an absolute path');
  }
  if (mount.recursiveReadOnly && mount.propagation !== 'private') {
    refuse(
      `mounts: ${mount.containerPath} is recursive_read_only with propagation`,
      'use PROPAGATION_PRIVATE',
    );
  }
  validateMappings(mount, refuse);
}

/** Both kinds of ids or neither; ranges of 32 bits that do not overlap inside. */
function validateMappings(
  { containerPath, uidMappings, gidMappings }: MountRequest,
  refuse: (message: string, hint: string) => never,
): void {
  if (uidMappings.length > 0 !== gidMappings.length > 0) {
    refuse(`mounts: ${containerPath} maps users or groups alone`, 'give uidMappings and gidMappings');
  }
  for (const [field, mappings] of Object.entries({ uidMappings, gidMappings })) {
    const sorted = mappings.toSorted((a, b) => a.containerId - b.containerId);
    let next = 0;
    for (const { containerId, hostId, length } of sorted) {
      const end = Math.max(containerId, hostId) + length;
      if (length < 1 || containerId < next || end > 0xffff_ffff) {
        refuse(
          `mounts: ${field} of ${containerPath}: ${length} ids from ${containerId} to host id ${hostId}`,
          'give ranges of at least one id, below 4294967295, that do not overlap',
        );
      }
      next = containerId + length;
    }
  }
}
