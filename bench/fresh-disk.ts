/** A new file system for each measurement. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';

/** Size of the sparse image file, in bytes. */
const SIZE = 4 * 1024 ** 3;

/**
 * Mounts a new ext4 at the directory, until the end of the scope. Without one a round is slowed down by the files that the round
 * before it deleted: ext4 without a journal skips inodes that were freed in the last minutes, one by one, for each
 * file that it creates. Without loop devices the directory is used as it is, which is logged.
 */
export function freshDisk(directory: string): Disposable {
  const file = `${directory}.img`;
  mkdirSync(directory, { recursive: true });
  // ext4 initialises everything now, so that it does not write during a measurement.
  const make = `truncate -s ${SIZE} "$1" && mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$1" && mount -o loop "$1" "$2"`;
  const { status, stderr } = spawnSync('sh', ['-c', make, 'sh', file, directory], { encoding: 'utf8' });
  if (status !== 0) console.log(`bench: no separate file system for the pull: ${stderr.trim()}`);
  return {
    [Symbol.dispose]() {
      if (status === 0) spawnSync('umount', [directory]);
      rmSync(directory, { recursive: true, force: true });
      rmSync(file, { force: true });
    },
  };
}
