import { CrispError } from '#core/errors.ts';
import type { CgroupVersion, MountEntry } from '../ports/kernel.ts';

/** One tree of groups: on v2 there is one, on v1 one for each set of controllers that is mounted together. */
export interface Hierarchy {
  /** Where it is mounted. */
  readonly root: string;
  /** Empty for a named hierarchy and for cgroup2 without controllers. */
  readonly controllers: readonly string[];
  /** cgroup2. */
  readonly unified?: true;
}

export interface CgroupLayout {
  readonly version: CgroupVersion;
  readonly hierarchies: readonly Hierarchy[];
}

/** All controllers of v1 that Linux has had. */
const known = new Set(
  'cpu cpuacct cpuset memory devices freezer net_cls net_prio blkio perf_event hugetlb pids rdma misc debug'.split(
    ' ',
  ),
);

/**
 * Reads the layout from the mount table. Any v1 hierarchy with a controller makes it version 1, for a controller
 * belongs to one version only; the cgroup2 tree of such a hybrid is kept as a hierarchy without controllers.
 */
export function readLayout(mounts: readonly MountEntry[]): CgroupLayout {
  const hierarchies: Hierarchy[] = [];
  const seen = new Set<string>();
  let unified: Hierarchy | undefined;
  // A hierarchy may be mounted at several paths: the first is used.
  for (const mount of visible(mounts)) {
    if (mount.type === 'cgroup2') unified ??= { root: mount.target, controllers: [], unified: true };
    if (mount.type !== 'cgroup' || seen.has(mount.device)) continue;
    seen.add(mount.device);
    hierarchies.push({
      root: mount.target,
      controllers: mount.options.split(',').filter((name) => known.has(name)),
    });
  }
  if (hierarchies.some(({ controllers }) => controllers.length > 0)) {
    return { version: 1, hierarchies: unified ? [...hierarchies, unified] : hierarchies };
  }
  if (unified) return { version: 2, hierarchies: [unified] };
  throw new CrispError('FailedPrecondition', 'no cgroup hierarchy is mounted', {
    hint: 'mount cgroup2 at /sys/fs/cgroup (systemd and every container image builder do so)',
  });
}

/** A later mount on the same path hides the earlier one, whatever its type. */
const visible = (mounts: readonly MountEntry[]): MountEntry[] =>
  mounts.filter(({ target }, at) => mounts.findLastIndex((other) => other.target === target) === at);
