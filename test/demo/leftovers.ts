/** Counts what a running pod creates on a machine: all of it must be zero at the end. */
import { execFileSync } from 'node:child_process';
import { existsSync, globSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';

export interface Leftovers {
  readonly [what: string]: number;
}

const lines = (text: string): string[] => text.split('\n').filter(Boolean);
const entries = (directory: string): string[] => (existsSync(directory) ? readdirSync(directory) : []);

/** `directory` of the daemon, `cgroup`: its prefix, `ipam`: directory of the address leases. */
export function countLeftovers(directory: string, cgroup: string, ipam: string): Leftovers {
  const groups = globSync([`/sys/fs/cgroup${cgroup}/*/`, `/sys/fs/cgroup/*${cgroup}/*/`]);
  const processes = globSync([
    `/sys/fs/cgroup${cgroup}/**/cgroup.procs`,
    `/sys/fs/cgroup/*${cgroup}/**/cgroup.procs`,
  ]);
  return {
    processes: new Set(processes.flatMap((file) => lines(readFileSync(file, 'utf8')))).size,
    mounts: lines(readFileSync('/proc/self/mountinfo').toString()).filter(
      // Layers stay mounted; the leading space is that of the mount point, as an overlay's line names its layers, too.
      (line) => line.includes(directory) && !line.includes(` ${directory}/state/images/layers`),
    ).length,
    cgroups: groups.length,
    veths: readdirSync('/sys/class/net').filter((name) => name.startsWith('veth')).length,
    addresses: globSync(`${ipam}/*/*`).filter((file) => /\/[\d.]+$/.test(file)).length,
    'host port rules': lines(execFileSync('iptables-save', ['-t', 'nat'], { encoding: 'utf8' })).filter(
      (line) => /^-A CNI-DN-/.test(line),
    ).length,
    records: ['sandboxes', 'containers'].flatMap((name) => entries(join(directory, 'root', name))).length,
    'run files': ['sandboxes', 'containers', 'exits'].flatMap((name) =>
      entries(join(directory, 'state', name)),
    ).length,
  };
}
