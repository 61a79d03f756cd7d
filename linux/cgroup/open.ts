import { RealInotify } from '../fs/inotify.ts';
import { readMounts } from '../mount/mount-table.ts';
import type { Inotify } from '../ports/inotify.ts';
import type { Cgroups, MountEntry } from '../ports/kernel.ts';
import { isDelegatedRoot } from './delegation.ts';
import { readLayout } from './layout.ts';
import { CgroupsV1 } from './v1.ts';
import { CgroupsV2 } from './v2.ts';

/** The cgroups of this machine, as they are mounted now. */
export function openCgroups(
  inotify: Pick<Inotify, 'watch' | 'forget'> = new RealInotify({ warn() {} }),
): Cgroups {
  const mounts = readMounts();
  const layout = readLayout(mounts);
  return layout.version === 1
    ? new CgroupsV1(layout)
    : openUnified(layout.hierarchies[0]?.root ?? '/sys/fs/cgroup', mounts, inotify);
}

function openUnified(
  root: string,
  mounts: readonly MountEntry[],
  inotify: Pick<Inotify, 'watch' | 'forget'>,
): Cgroups {
  const mount = mounts.findLast(({ target }) => target === root);
  return new CgroupsV2(root, { inotify, delegated: isDelegatedRoot(root, mount?.root ?? '') });
}
