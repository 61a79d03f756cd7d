/** Loop devices: block devices whose content is a file (loop(4)). */
import { constants } from 'node:fs';
import { type FileHandle, open, readFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, errnoOf, hasCode } from '#core/errors.ts';
import { checkOutcome, errnoName, naming, refused } from '../libc/errno.ts';
import { asynchronous, control, controlNumber, mknod } from '../libc/libc.ts';

const LOOP_CTL_GET_FREE = 0x4c82;
const LOOP_CONFIGURE = 0x4c0a;
const READ_ONLY = 1;
const AUTOCLEAR = 4;
const DIRECT_IO = 16;
/** struct loop_config: fd, block size, a loop_info64 of 232 bytes, reserved. */
const CONFIG_BYTES = 304;
const FLAGS = 8 + 52;
/** Direct IO needs blocks at least as large as the disk's, and a layer's image has 4096 bytes in each of its own. */
const BLOCK_BYTES = 4096;
/** Others may take the device that was free: how often the next is tried, and the pause, in ms, before it. */
const TRIES = 64;
const PAUSE_MS = 5;
const CONTROL = { path: '/dev/loop-control', major: 10, minor: 237 };
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;

/** A loop device that shows the file read-only. The kernel frees it once it is neither open here nor mounted. */
export class LoopDevice implements AsyncDisposable {
  readonly path: string;
  readonly #device: FileHandle;

  private constructor(path: string, device: FileHandle) {
    this.path = path;
    this.#device = device;
  }

  /** `what` begins the errors. ResourceExhausted: no device became free; FailedPrecondition: the kernel cannot. */
  static async attach(file: string, what: string): Promise<LoopDevice> {
    await using backing = await naming(`${what}: open ${file}`, () => open(file, 'r'));
    await using controlDevice = await openControl(what);
    for (let n = 0; n < TRIES; n++) {
      const free = await asynchronous(controlNumber, controlDevice.fd, LOOP_CTL_GET_FREE, 0);
      if (free.result < 0 && errnoName(free.errno) === 'ENOSPC')
        throw noneFree(`${what}: no free loop device: the kernel makes no more`, 'ENOSPC');
      const index = checkOutcome(free, `${what}: get a free loop device`);
      const device = await openDevice(index, what);
      if (device && (await taken(device, backing.fd, what)))
        return new LoopDevice(`/dev/loop${index}`, device);
      await sleep(PAUSE_MS * Math.random() * Math.min(n, 8));
    }
    throw noneFree(`${what}: no free loop device: each of ${TRIES} was taken`, 'EBUSY');
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#device.close();
  }
}

const noneFree = (message: string, errno: string): CrispError =>
  new CrispError('ResourceExhausted', message, {
    errno,
    hint: 'free loop devices (losetup --list shows them), and try again',
  });

/** Opening its node loads the module, also where the node was made by hand. */
async function openControl(what: string): Promise<FileHandle> {
  const { path, major, minor } = CONTROL;
  try {
    return await naming(`${what}: open ${path}`, () => openNode(path, S_IFCHR, async () => [major, minor]));
  } catch (error) {
    if (!(error instanceof CrispError)) throw error;
    throw new CrispError('FailedPrecondition', error.message, {
      ...(error.errno ? { errno: error.errno } : {}),
      hint: 'load the kernel module loop, and give the daemon /dev/loop-control',
    });
  }
}

/** Undefined where the device has gone meanwhile. */
async function openDevice(index: number, what: string): Promise<FileHandle | undefined> {
  const path = `/dev/loop${index}`;
  try {
    return await naming(`${what}: open ${path}`, () =>
      openNode(path, S_IFBLK, async () => {
        const [major, minor] = (await readFile(`/sys/block/loop${index}/dev`, 'utf8')).trim().split(':');
        return [Number(major), Number(minor)];
      }),
    );
  } catch (error) {
    if (error instanceof CrispError && (error.errno === 'ENXIO' || hasCode(error, 'NotFound')))
      return undefined;
    throw error;
  }
}

/** Opens a device node, and makes it first where there is none, as in a /dev that is not a devtmpfs. */
async function openNode(
  path: string,
  type: number,
  number: () => Promise<readonly [number, number]>,
): Promise<FileHandle> {
  const flags = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW;
  try {
    return await open(path, flags);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const [major, minor] = await number();
  const made = await asynchronous(mknod, path, type | 0o600, packed(major, minor));
  if (made.result < 0 && errnoName(made.errno) !== 'EEXIST') throw refused(`make ${path}`, made.errno);
  return await open(path, flags);
}

/** As makedev(3) of glibc, for majors below 4096. */
const packed = (major: number, minor: number): number =>
  (minor & 0xff) + (major & 0xfff) * 2 ** 8 + (minor >>> 8) * 2 ** 20;

/** False where another process has taken the device. A file system without direct IO is read through the page cache. */
async function configure(device: FileHandle, backing: number, what: string): Promise<boolean> {
  for (const direct of [DIRECT_IO, 0]) {
    const config = Buffer.alloc(CONFIG_BYTES);
    config.writeUInt32LE(backing, 0);
    config.writeUInt32LE(BLOCK_BYTES, 4);
    config.writeUInt32LE(READ_ONLY | AUTOCLEAR | direct, FLAGS);
    const outcome = await asynchronous(control, device.fd, LOOP_CONFIGURE, config);
    if (outcome.result >= 0) return true;
    const errno = errnoName(outcome.errno);
    if (errno === 'EBUSY') return false;
    if (errno === 'EINVAL' && direct !== 0) continue;
    if (errno !== 'EINVAL' && errno !== 'ENOTTY') throw refused(`${what}: LOOP_CONFIGURE`, outcome.errno);
    throw new CrispError('FailedPrecondition', `${what}: LOOP_CONFIGURE: ${errno}`, {
      errno,
      hint: 'use Linux 5.8 or later',
    });
  }
  return false;
}

/** The same, and closes the device where it is not this process's. */
async function taken(device: FileHandle, backing: number, what: string): Promise<boolean> {
  let isTaken = false;
  try {
    isTaken = await configure(device, backing, what);
  } finally {
    if (!isTaken) await device.close();
  }
  return isTaken;
}
