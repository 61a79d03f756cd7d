/**
 * The readahead of images that are mounted from their files. The kernel gives each such mount a backing device of its own with
 * 128 KiB, whatever the disk has: a large file is then read several times slower than the same file in a directory.
 */
import { readdir, readFile, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';

const BACKING_DEVICES = '/sys/class/bdi';

/** The backing devices of EROFS mounts. Nothing but its number, which counts up, says which mount one belongs to. */
export async function backingDevices(): Promise<ReadonlySet<string>> {
  try {
    return new Set((await readdir(BACKING_DEVICES)).filter((name) => name.startsWith('erofs-')));
  } catch {
    return new Set();
  }
}

/**
 * Gives the backing devices that were not there `before` the readahead of the disk that the image is on, where that is more. A
 * mount that another process made meanwhile may be among them, which does it no harm. Without effect where /sys is not there or
 * read-only, and where the disk has no queue, as with btrfs: it is about speed alone.
 */
export async function readAheadAs(image: string, before: ReadonlySet<string>): Promise<void> {
  try {
    const wanted = await readAheadOf((await stat(image)).dev);
    for (const device of await backingDevices()) {
      if (before.has(device)) continue;
      const file = join(BACKING_DEVICES, device, 'read_ahead_kb');
      if (Number(await readFile(file, 'utf8')) < wanted) await writeFile(file, String(wanted));
    }
  } catch {
    // See above.
  }
}

/** Of the disk with that device number, in KiB. A partition has no queue of its own. */
async function readAheadOf(device: number): Promise<number> {
  const directory = `/sys/dev/block/${majorOf(device)}:${minorOf(device)}`;
  const own = readFile(`${directory}/queue/read_ahead_kb`, 'utf8');
  return Number(await own.catch(() => readFile(`${directory}/../queue/read_ahead_kb`, 'utf8')));
}

/** As gnu_dev_major(3) and gnu_dev_minor(3), for majors below 4096. */
const majorOf = (device: number): number => Math.floor(device / 2 ** 8) % 2 ** 12;
const minorOf = (device: number): number => (device % 2 ** 8) + Math.floor(device / 2 ** 20) * 2 ** 8;
