import { readLayout } from './cgroup-layout.ts';
import { CgroupsV1 } from './cgroups-v1.ts';
import { CgroupsV2 } from './cgroups-v2.ts';
import { Inotify } from './inotify.ts';
import type { Cgroups } from './kernel.ts';
import { readMounts } from './mount-table.ts';

/** The cgroups of this machine, as they are mounted now. */
export function openCgroups(
  inotify: Pick<Inotify, 'watch' | 'forget'> = new Inotify({ warn() {} }),
): Cgroups {
  const layout = readLayout(readMounts());
  return layout.version === 1
    ? new CgroupsV1(layout)
    : new CgroupsV2(layout.hierarchies[0]?.root ?? '/sys/fs/cgroup', inotify);
}
