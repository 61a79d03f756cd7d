/** Control groups and limits of the node. */
import { type Check, failure, ok, warning } from './result.ts';

const NEEDED = ['cpu', 'memory', 'pids', 'cpuset'];
/** What many pods on one node use; the kernel's own defaults of 128 and 8192 are used up by them. */
const INSTANCES = 512;
const WATCHES = 65_536;
const OPEN_FILES = 65_536;

/** The hard limit in the text of /proc/PID/limits. */
export function hardOpenFiles(text: string): number | undefined {
  const found = /^Max open files +\S+ +(\S+)/m.exec(text)?.[1];
  if (found === undefined) return undefined;
  return found === 'unlimited' ? Infinity : Number(found);
}

export const resourceChecks: readonly Check[] = [
  {
    id: 'cgroups',
    run(node) {
      const { version, controllers } = node.cgroups();
      const missing = NEEDED.filter((name) => !controllers.has(name));
      const found = `version ${version}, controllers ${[...controllers].sort().join(' ')}`;
      if (missing.length === 0) return ok(found);
      const remedy =
        version === 2
          ? 'enable them: kernel parameters (cgroup_enable=memory), and Delegate=yes in the unit of what starts crisp'
          : 'mount their hierarchies below /sys/fs/cgroup, or boot with cgroup v2';
      const lacks = `${found}; missing: ${missing.join(' ')}`;
      // Without cpuset only pinned CPUs are missing.
      return missing.every((name) => name === 'cpuset') ? warning(lacks, remedy) : failure(lacks, remedy);
    },
  },
  {
    id: 'cgroup-driver',
    run(node) {
      const { driver } = node.config.cgroup;
      const used = driver === 'auto' ? (node.isSystemd ? 'systemd' : 'cgroupfs') : driver;
      const found = `${used}${driver === 'auto' ? ' (auto)' : ''}, systemd is ${node.isSystemd ? '' : 'not '}PID 1`;
      if (used === 'systemd' && !node.isSystemd)
        return failure(found, 'set cgroup.driver = "cgroupfs", here and in the kubelet');
      return used === 'cgroupfs' && node.isSystemd
        ? warning(
            found,
            'set cgroup.driver = "systemd", here and in the kubelet: systemd should be the only one that makes cgroups',
          )
        : ok(found);
    },
  },
  {
    id: 'io-weight',
    run(node) {
      const { version, controllers } = node.cgroups();
      const has = version === 2 ? controllers.has('io') : controllers.has('blkio');
      return ok(has ? 'limits and weights of block devices' : 'none: limits of block devices have no effect');
    },
  },
  {
    id: 'inotify',
    run(node) {
      const read = (name: string) => Number(node.text(`/proc/sys/fs/inotify/max_user_${name}`) ?? Number.NaN);
      const [instances, watches] = [read('instances'), read('watches')];
      const found = `${instances} instances, ${watches} watches for each user`;
      if (instances >= INSTANCES && watches >= WATCHES) return ok(found);
      const set = `fs.inotify.max_user_instances=${Math.max(instances || 0, INSTANCES)} fs.inotify.max_user_watches=${Math.max(watches || 0, WATCHES)}`;
      return warning(
        found,
        `sysctl -w ${set}, and in a file of /etc/sysctl.d: programs in pods use them, too`,
      );
    },
  },
  {
    id: 'open-files',
    run(node) {
      const pid = node.daemon;
      const limit = hardOpenFiles(node.text(`/proc/${pid ?? 'self'}/limits`) ?? '') ?? 0;
      const found = `${limit === Infinity ? 'no limit' : `up to ${limit}`} ${pid === undefined ? 'for programs of this shell' : `for the daemon (pid ${pid})`}`;
      if (limit >= OPEN_FILES) return ok(found);
      return warning(found, 'set LimitNOFILE=1048576 in the unit of crisp');
    },
  },
];
