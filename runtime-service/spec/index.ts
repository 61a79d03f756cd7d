/** Makes the OCI specification of a container out of request, pod, image and host. */

import { CrispError } from '#core/errors.ts';
import type { ImageForContainer } from '#core/model/image.ts';
import type { PodView } from '#core/model/pod.ts';
import type { SelinuxLabels } from '#core/model/selinux.ts';
import type { ContainerConfig } from '../config.ts';
import type { ContainerUser } from '../container.ts';
import type { ContainerDefaults, HandlerOptions } from '../options.ts';
import { identityAnnotations, passedAnnotations, unitAnnotations } from './annotations.ts';
import type { AppArmorProfiles } from './apparmor.ts';
import { type BaseSpec, noBase } from './base.ts';
import { capabilitiesOf } from './capabilities.ts';
import { defaultsOf, withRlimits } from './defaults.ts';
import { containerDevices, deviceAccess } from './devices.ts';
import { addHooks } from './hooks.ts';
import { moreDevices } from './more-devices.ts';
import { type MountContext, ociMounts, rootfsPropagation } from './mounts.ts';
import { ociNamespaces, pidMode } from './namespaces.ts';
import { hookStages, type OciSeccomp, type OciSpec } from './oci.ts';
import { ociProcess, type Rlimit } from './process.ts';
import { ociResources, type ResourceHost } from './resources.ts';
import { containerSeccomp, type SeccompHost } from './seccomp.ts';
import { notifies } from './seccomp-listener.ts';
import { PROGRAM_ANNOTATION, type SeccompPrograms } from './seccomp-programs.ts';
import { resolveUser, type UserFiles } from './users.ts';

/** What the host supports and the configuration sets; read once at start. */
export interface SpecHost extends ResourceHost, SeccompHost {
  /** The daemon's own bounding set. */
  readonly capabilities: ReadonlySet<string>;
  /** Those above what the daemon may give, lowered to that. */
  readonly clampRlimits: (rlimits: readonly Rlimit[]) => readonly Rlimit[];
  readonly defaults: ContainerDefaults;
  /** By path. */
  readonly baseSpecs: ReadonlyMap<string, BaseSpec>;
  readonly minOomScoreAdj: number;
  readonly apparmor: AppArmorProfiles;
  readonly seccompPrograms: SeccompPrograms;
}

export interface SpecRequest {
  readonly config: ContainerConfig;
  readonly pod: PodView;
  readonly image: ImageForContainer;
  readonly userFiles: UserFiles;
  readonly rootfs: string;
  readonly cgroup: string;
  readonly volumes: MountContext['volumes'];
  readonly imageSources: ReadonlyMap<string, string>;
  /** See `MountContext`. */
  readonly idMapTrees?: ReadonlySet<string>;
  /** Pid of the container whose pid namespace is the target. */
  readonly targetPid: number | undefined;
  /** SELinux labels; undefined: none. */
  readonly label?: SelinuxLabels | undefined;
  /** What the container's OCI runtime takes, and the options of its handler. */
  readonly runtime: Omit<HandlerOptions, 'path' | 'options'> & {
    /** Compiled filters, by annotation. */
    readonly seccompPrograms: boolean;
  };
}

export interface MadeSpec {
  readonly spec: OciSpec;
  readonly user: ContainerUser;
  readonly sharedPid: boolean;
}

const DEFAULT_OOM_SCORE = 0;

/** Throws InvalidArgument or FailedPrecondition, naming the field, where request, pod and host do not fit together. */
export async function makeSpec(request: SpecRequest, host: SpecHost): Promise<MadeSpec> {
  const { config, pod, image } = request;
  const { security } = config;
  if (security.privileged && !pod.privileged) {
    throw new CrispError(
      'InvalidArgument',
      `container ${config.metadata.name} is privileged, its pod is not`,
      {
        hint: 'make the pod sandbox with privileged: true',
      },
    );
  }
  const { home, ...user } = resolveUser(security, image.config.user, request.userFiles);
  const defaults = defaultsOf(host.defaults, request.runtime);
  const base = baseSpec(defaults, host);
  const capabilities = capabilitiesOf(
    security,
    host.capabilities,
    base.capabilities ?? defaults.capabilities,
  );
  const pid = pidMode(security.pid, pod);
  const [seccomp, devices] = await Promise.all([
    containerSeccomp(security, capabilities, defaults.seccompProfile, host),
    containerDevices(
      moreDevices(config.devices, { ...pod.annotations, ...config.annotations }, defaults),
      deviceAccess(security.privileged, request.runtime),
      defaults.deviceOwnership ? security : {},
    ),
  ]);
  const wantedScore = Number(config.resources.oomScoreAdj) || DEFAULT_OOM_SCORE;
  const propagation = rootfsPropagation(config.mounts);
  const ownCgroups = host.version === 2 && !security.privileged;
  const spec: OciSpec = {
    ociVersion: '1.0.2',
    process: ociProcess(config, image, {
      user: { ...user, home },
      hostname: pod.hostname,
      defaultEnv: { ...defaults.env, ...base.env },
      capabilities,
      rlimits: host.clampRlimits(withRlimits(defaults.rlimits, base.rlimits)),
      oomScoreAdj: Math.max(wantedScore, host.minOomScoreAdj),
    }),
    root: { path: request.rootfs, readonly: security.readonlyRootfs },
    mounts: ociMounts({
      pod,
      security,
      requested: config.mounts,
      base: base.mounts,
      volumes: request.volumes,
      imageSources: request.imageSources,
      idMapTrees: request.idMapTrees ?? new Set(),
      nodeCgroups: host.version === 2 && !ownCgroups,
      writableCgroups: ownCgroups && request.runtime.cgroupWritable === true,
    }),
    annotations: await ociAnnotations(request, seccomp, host),
    linux: {
      namespaces: ociNamespaces(pod, pid, request.targetPid, ownCgroups),
      ...userMappings(pod),
      cgroupsPath: request.cgroup,
      devices: devices.devices,
      resources: { ...ociResources(config.resources, host), devices: devices.rules },
      ...(seccomp ? { seccomp } : {}),
      ...(security.privileged
        ? {}
        : { maskedPaths: [...security.maskedPaths], readonlyPaths: [...security.readonlyPaths] }),
      ...(propagation ? { rootfsPropagation: propagation } : {}),
    },
  };
  for (const stage of hookStages) addHooks(spec, stage, base.hooks[stage] ?? []);
  const profile = await host.apparmor.profileOf(security, defaults.apparmorProfile);
  if (profile !== undefined) spec.process.apparmorProfile = profile;
  if (request.label?.process) spec.process.selinuxLabel = request.label.process;
  if (request.label?.files) spec.linux.mountLabel = request.label.files;
  return { spec, user, sharedPid: pid !== 'container' };
}

/** Throws FailedPrecondition where the handler was removed before this start of the daemon: its file has not been read. */
function baseSpec({ baseRuntimeSpec: path }: ContainerDefaults, { baseSpecs }: SpecHost): BaseSpec {
  const base = path === '' ? noBase : baseSpecs.get(path);
  if (base) return base;
  throw new CrispError(
    'FailedPrecondition',
    `the base spec ${path} of a handler that was removed is not read`,
    {
      hint: 'configure the handler again, or create the pod again',
    },
  );
}

/** crisp's own come last: no client's can replace them. */
async function ociAnnotations(
  { config, pod, image, runtime, cgroup }: SpecRequest,
  seccomp: OciSeccomp | undefined,
  host: SpecHost,
): Promise<Record<string, string>> {
  const passed = {
    ...passedAnnotations(pod.annotations, config.annotations, runtime.allowedAnnotations),
    ...identityAnnotations(pod, config, image),
    ...unitAnnotations(cgroup, config.resources, host),
  };
  // A filter whose calls an agent answers is left to crun.
  const program =
    seccomp && runtime.seccompPrograms && !notifies(seccomp)
      ? await host.seccompPrograms.program(seccomp)
      : undefined;
  return program === undefined ? passed : { ...passed, [PROGRAM_ANNOTATION]: program };
}

function userMappings(pod: PodView): Pick<OciSpec['linux'], 'uidMappings' | 'gidMappings'> {
  if (!pod.userNamespace) return {};
  const toOci = (mappings: readonly { containerId: number; hostId: number; length: number }[]) =>
    mappings.map(({ containerId, hostId, length }) => ({
      containerID: containerId,
      hostID: hostId,
      size: length,
    }));
  return { uidMappings: toOci(pod.userNamespace.uids), gidMappings: toOci(pod.userNamespace.gids) };
}
