/** A new file system for each measurement. */
import { spawnSync } from 'node:child_process';
import { mkdirSync, readFileSync, rmSync, statSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';

/** The loop device goes with the mount (`mount -o loop` makes it so, and `losetup` alone knows direct IO). */
const MOUNT =
  'device=$(losetup --find --show --direct-io=on "$1") && { mount "$device" "$2"; result=$?; losetup --detach "$device"; exit $result; }';
/** Size of the sparse image file, in bytes. */
const SIZE = 4 * 1024 ** 3;

export interface FreshDisk extends Disposable {
  /** Mounts it anew: nothing of it is cached any more. Nobody may use it meanwhile. Throws Internal where the kernel refuses. */
  remount(): void;
  /** Requests to read that its device has had; 0 without a device of its own. */
  reads(): number;
}

/**
 * Mounts a new ext4 at the directory, until the end of the scope. Without one a round is slowed down by the files that the round
 * before it deleted: ext4 without a journal skips inodes that were freed in the last minutes, one by one, for each
 * file that it creates. Without loop devices the directory is used as it is, which is logged. The device reads and writes its file
 * with direct IO, so that a disk that is mounted anew is cold.
 */
export function freshDisk(directory: string): FreshDisk {
  const file = `${directory}.img`;
  mkdirSync(directory, { recursive: true });
  // ext4 initialises everything now, so that it does not write during a measurement.
  const make = `truncate -s ${SIZE} "$1" && mkfs.ext4 -q -F -E lazy_itable_init=0,lazy_journal_init=0,nodiscard "$1" && ${MOUNT}`;
  const { status, stderr } = spawnSync('sh', ['-c', make, 'sh', file, directory], { encoding: 'utf8' });
  if (status !== 0) console.log(`bench: no separate file system for the pull: ${stderr.trim()}`);
  return {
    remount() {
      if (status !== 0) return;
      const again = spawnSync('sh', ['-c', `umount "$2" && ${MOUNT}`, 'sh', file, directory], {
        encoding: 'utf8',
      });
      if (again.status !== 0) throw new CrispError('Internal', `mount ${directory} anew: ${again.stderr}`);
    },
    reads() {
      if (status !== 0) return 0;
      const { dev } = statSync(directory);
      const name = `${Math.floor(dev / 256) % 4096}:${(dev % 256) + Math.floor(dev / 2 ** 20) * 256}`;
      return Number(readFileSync(`/sys/dev/block/${name}/stat`, 'utf8').trim().split(/ +/)[0]);
    },
    [Symbol.dispose]() {
      if (status === 0) spawnSync('umount', [directory]);
      rmSync(directory, { recursive: true, force: true });
      rmSync(file, { force: true });
    },
  };
}
