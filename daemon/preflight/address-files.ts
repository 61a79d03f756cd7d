/** The files of the CNI plugin host-local, one for each address in use. Only read, without their lock. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { parseIp } from '#linux/net/ip-address.ts';

export interface AddressFile {
  readonly address: string;
  /** The owner's id; empty where the file is. */
  readonly owner: string;
}

/** None where the directory cannot be read. */
export function addressFiles(directory: string): readonly AddressFile[] {
  const names = () => {
    try {
      return readdirSync(directory).sort();
    } catch {
      return [];
    }
  };
  return names().flatMap((address) => {
    if (!parseIp(address)) return [];
    const path = join(directory, address);
    try {
      const owner = readFileSync(path, 'utf8').split('\n')[0]?.trim() ?? '';
      return [{ address, owner }];
    } catch {
      return []; // released meanwhile
    }
  });
}

/**
 * Ids of pods and containers that live, of whichever runtime: in the cgroups of processes, or, as CRI-O's pods may have no process,
 * in the paths of mounts.
 */
export function idsInUse(): ReadonlySet<string> {
  const text = (path: string) => {
    try {
      return readFileSync(path, 'latin1');
    } catch {
      return ''; // ended meanwhile
    }
  };
  const pids = readdirSync('/proc').filter((name) => /^\d+$/.test(name));
  const paths = ['/proc/self/mountinfo', ...pids.map((pid) => `/proc/${pid}/cgroup`)];
  return new Set(paths.flatMap((path) => text(path).match(/[0-9a-f]{64}/g) ?? []));
}
