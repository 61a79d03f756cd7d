/** A file system of its own for what is measured, made anew each time. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';

/** Sparse: it takes what is written into it. In bytes. */
const SIZE = 4 * 1024 ** 3;

/**
 * Mounts a new ext4 at the directory, until the end of the scope. Without one a round pays for the files that the round
 * before it deleted: ext4 without a journal passes over inodes that were freed in the last minutes, one by one, at each
 * file that it makes. Where the machine has no loop devices the directory stays what it is, and a line says so.
 */
export function freshDisk(directory: string): Disposable {
  const file = `${directory}.img`;
  mkdirSync(directory, { recursive: true });
  // All that ext4 would write later, while somebody is measured, is written now.
  const make = `truncate -s ${SIZE} "$1" && mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$1" && mount -o loop "$1" "$2"`;
  const { status, stderr } = spawnSync('sh', ['-c', make, 'sh', file, directory], { encoding: 'utf8' });
  if (status !== 0) console.log(`bench: no file system of its own for the pull: ${stderr.trim()}`);
  return {
    [Symbol.dispose]() {
      if (status === 0) spawnSync('umount', [directory]);
      rmSync(directory, { recursive: true, force: true });
      rmSync(file, { force: true });
    },
  };
}
