/**
 * Pods of other runtimes on this node, and of another crisp: what they hold of a network that both use is not to be taken away.
 * They are known by their ids, in what is alive and in the files of their CNI library.
 */
import { readdir, readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { ValidAttachment } from '../network/plugin-gc.ts';

/** Where libcni, which CRI-O, containerd and others call plugins by, keeps a file for each attachment until its DEL. */
const CACHE = '/var/lib/cni/results';
const ID = /[0-9a-f]{64}/g;

/**
 * The ids in the cgroups of processes (pause processes), in the paths of mounts (namespaces, /dev/shm) and in the environment of
 * plugins that run.
 */
export async function idsInUse(): Promise<Set<string>> {
  const ids = new Set((await readFile('/proc/self/mountinfo', 'latin1')).match(ID));
  for (const pid of await readdir('/proc')) {
    if (!/^\d+$/.test(pid)) continue;
    const read = (name: string) => readFile(join('/proc', pid, name), 'latin1').catch(() => ''); // ended meanwhile
    for (const [id] of (await read('cgroup')).matchAll(ID)) ids.add(id);
    for (const [, id = ''] of (await read('environ')).matchAll(/CNI_CONTAINERID=([0-9a-f]{64})/g))
      ids.add(id);
  }
  return ids;
}

/** The attachments to a network that another runtime has not ended yet. `directory`: of libcni's files. */
export async function cachedAttachments(network: string, directory = CACHE): Promise<ValidAttachment[]> {
  const names = await readdir(directory).catch((): string[] => []);
  return names.flatMap((name) => {
    if (!name.startsWith(`${network}-`)) return [];
    const [, containerID, ifname] = /^([0-9a-f]{64})-(.+)$/.exec(name.slice(network.length + 1)) ?? [];
    return containerID !== undefined && ifname !== undefined ? [{ containerID, ifname }] : [];
  });
}
