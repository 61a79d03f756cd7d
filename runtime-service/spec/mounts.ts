import { posix } from 'node:path';
import type { PodView } from '#core/model/pod.ts';
import type { MountRequest, SecurityContext } from '../config.ts';
import type { OciMount } from './oci.ts';

export interface MountContext {
  readonly pod: PodView;
  readonly security: SecurityContext;
  readonly requested: readonly MountRequest[];
  /** Of the base spec. */
  readonly base?: readonly OciMount[];
  /** Anonymous volumes of the image: container path and source on the host. */
  readonly volumes: readonly { readonly containerPath: string; readonly source: string }[];
  /** Sources of image volumes by container path. */
  readonly imageSources: ReadonlyMap<string, string>;
  /** Container paths of id-mapped mounts whose sources have mounts below them. */
  readonly idMapTrees?: ReadonlySet<string>;
  /** Whether the container is in the node's cgroup namespace on version 2. */
  readonly nodeCgroups?: boolean;
  /** Whether a container that is not privileged may write to its cgroups. */
  readonly writableCgroups?: boolean;
}

/** The path as the container's root has it, without `..`, doubled slashes and one at its end. */
export const inContainer = (path: string): string => {
  const clean = posix.normalize(`/${path}`);
  return clean.length > 1 ? clean.replace(/\/$/, '') : clean;
};

/** Whether the path is the other one or below it; both as `inContainer` writes them. */
export const isWithin = (path: string, other: string): boolean =>
  path === other || other === '/' || path.startsWith(`${other}/`);

/** A parent before its children, so that no mount hides another; else the order is kept. */
export const byDepth = (mounts: readonly OciMount[]): OciMount[] => {
  const depth = ({ destination }: OciMount) => destination.split('/').length;
  return mounts.toSorted((a, b) => depth(a) - depth(b));
};

/**
 * The mounts of a container, sorted so that a parent comes before its children: the kernel's file systems, the pod's
 * files, those of the base spec where nothing else is mounted, the image's volumes and the request's own. A requested mount replaces any of crisp's at the same path
 * (contract, section 3), and of the kernel's file systems below it: a client that binds the node's /dev or /sys needs the node's.
 */
export function ociMounts(context: MountContext): OciMount[] {
  const { requested } = context;
  const taken = new Set(requested.map((mount) => inContainer(mount.containerPath)));
  const covered = ({ destination }: OciMount) => [...taken].some((path) => isWithin(destination, path));
  const own = [
    ...kernelMounts(context).filter((mount) => !covered(mount)),
    ...podFiles(context).filter(({ destination }) => !taken.has(destination)),
  ];
  const volumes = context.volumes
    .filter(({ containerPath }) => !taken.has(inContainer(containerPath)))
    .map(
      ({ containerPath, source }): OciMount => ({
        destination: inContainer(containerPath),
        type: 'bind',
        source,
        options: ['rbind', 'rprivate', 'rw'],
      }),
    );
  const binds = requested.map((mount) => requestedMount(mount, context));
  const theirs = new Set([...taken, ...volumes.map(({ destination }) => destination)]);
  const base = (context.base ?? []).filter(({ destination }) => !theirs.has(destination));
  return byDepth([...own, ...base, ...volumes, ...binds]);
}

export const CGROUPS = '/sys/fs/cgroup';

function kernelMounts(context: MountContext): OciMount[] {
  const { pod, security, nodeCgroups = false, writableCgroups = false } = context;
  const writable = security.privileged ? 'rw' : 'ro';
  return [
    { destination: '/proc', type: 'proc', source: 'proc', options: ['nosuid', 'noexec', 'nodev'] },
    {
      destination: '/dev',
      type: 'tmpfs',
      source: 'tmpfs',
      options: ['nosuid', 'strictatime', 'mode=755', 'size=65536k'],
    },
    {
      destination: '/dev/pts',
      type: 'devpts',
      source: 'devpts',
      options: ['nosuid', 'noexec', 'newinstance', 'ptmxmode=0666', 'mode=0620', ...terminalGroup(pod)],
    },
    // Of the ipc namespace that the container is in, the host's too: a node without /dev/mqueue has its queues as well.
    { destination: '/dev/mqueue', type: 'mqueue', source: 'mqueue', options: ['nosuid', 'noexec', 'nodev'] },
    sysfs(pod, writable),
    cgroups(nodeCgroups, writableCgroups ? 'rw' : writable),
  ];
}

function cgroups(ofNode: boolean, writable: string): OciMount {
  const options = ['nosuid', 'noexec', 'nodev', 'relatime', writable];
  const mount = { destination: CGROUPS, type: 'cgroup', source: 'cgroup', options };
  return ofNode ? nodeCgroups(mount) : mount;
}

/**
 * A mount of cgroup2 from the node's cgroup namespace sets the options of the whole hierarchy: without nsdelegate and
 * memory_recursiveprot, which systemd has set, the node would lose them (cgroups(7), and the kernel's
 * apply_cgroup_root_flags). There the node's own mount is bound.
 */
export const nodeCgroups = ({ destination, options = [] }: OciMount): OciMount => ({
  destination,
  type: 'bind',
  source: CGROUPS,
  options: ['rbind', 'rprivate', ...options],
});

const TTY = 5;

/** The group of terminals, as far as the pod has it: the kernel refuses an id that is not mapped. */
function terminalGroup({ userNamespace }: PodView): string[] {
  const mapped = ({ containerId, length }: { containerId: number; length: number }) =>
    containerId <= TTY && TTY < containerId + length;
  return userNamespace && !userNamespace.gids.some(mapped) ? [] : [`gid=${TTY}`];
}

/**
 * A user namespace that does not own the network namespace may not mount sysfs: the host's is bound then, and nothing below it
 * can be written (KEP-5607). Every OCI runtime that maps ids of mounts, as such a pod needs, has `rro`.
 */
function sysfs(pod: PodView, writable: string): OciMount {
  if (pod.userNamespace && pod.network === 'node') {
    return {
      destination: '/sys',
      type: 'bind',
      source: '/sys',
      options: ['rbind', 'rprivate', 'nosuid', 'noexec', 'nodev', 'rro'],
    };
  }
  return {
    destination: '/sys',
    type: 'sysfs',
    source: 'sysfs',
    options: ['nosuid', 'noexec', 'nodev', writable],
  };
}

function podFiles({ pod, security }: MountContext): OciMount[] {
  const access = security.readonlyRootfs ? 'ro' : 'rw';
  const mounts: OciMount[] = [];
  const bind = (destination: string, source: string | undefined, options: string[]) => {
    if (source !== undefined) mounts.push({ destination, type: 'bind', source, options });
  };
  bind('/etc/resolv.conf', pod.files.resolvConf, ['rbind', 'rprivate', access]);
  bind('/etc/hostname', pod.files.hostname, ['rbind', 'rprivate', access]);
  bind('/dev/shm', pod.files.shm, ['rbind', 'rprivate', 'rw', 'nosuid', 'nodev', 'noexec']);
  return mounts;
}

const PROPAGATION = { private: 'rprivate', 'host-to-container': 'rslave', bidirectional: 'rshared' } as const;

function requestedMount(
  mount: MountRequest,
  { imageSources, idMapTrees }: Pick<MountContext, 'imageSources' | 'idMapTrees'>,
): OciMount {
  const destination = inContainer(mount.containerPath);
  const image = imageSources.get(mount.containerPath);
  const flags = new Set(mount.options);
  // Its owners are numbered as the pod does already, and nothing is mounted below it.
  if (image !== undefined) {
    return { destination, type: 'bind', source: image, options: ['rbind', 'rprivate', 'ro', ...flags] };
  }
  const options = ['rbind', PROPAGATION[mount.propagation]];
  if (mount.recursiveReadOnly) options.push('rro');
  else options.push(mount.readonly ? 'ro' : 'rw');
  if (idMapTrees?.has(mount.containerPath)) options.push('ridmap');
  options.push(...flags);
  const toOci = (mappings: MountRequest['uidMappings']) =>
    mappings.map(({ containerId, hostId, length }) => ({
      containerID: containerId,
      hostID: hostId,
      size: length,
    }));
  return {
    destination,
    type: 'bind',
    source: mount.hostPath,
    options,
    ...(mount.uidMappings.length > 0 ? { uidMappings: toOci(mount.uidMappings) } : {}),
    ...(mount.gidMappings.length > 0 ? { gidMappings: toOci(mount.gidMappings) } : {}),
  };
}

/** The root's own propagation: it must allow what a mount requests (mount_namespaces(7)). */
export function rootfsPropagation(requested: readonly MountRequest[]): string | undefined {
  if (requested.some((mount) => mount.propagation === 'bidirectional')) return 'rshared';
  if (requested.some((mount) => mount.propagation === 'host-to-container')) return 'rslave';
  return undefined;
}
