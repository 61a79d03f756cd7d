import { isDelegatedRoot } from './cgroup-delegation.ts';
import { readLayout } from './cgroup-layout.ts';
import { CgroupsV1 } from './cgroups-v1.ts';
import { CgroupsV2 } from './cgroups-v2.ts';
import { Inotify } from './inotify.ts';
import type { Cgroups, MountEntry } from './kernel.ts';
import { readMounts } from './mount-table.ts';

/** The cgroups of this machine, as they are mounted now. */
export function openCgroups(
  inotify: Pick<Inotify, 'watch' | 'forget'> = new Inotify({ warn() {} }),
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
