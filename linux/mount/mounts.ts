/**
 * Mounts through the mount API of Linux 5.2 and later: a mount is made and given all its attributes while it is still
 * attached nowhere, so that it is never visible incomplete. What may wait for the disk or for other mounts runs on
 * libuv's pool, in the mount namespace of the main thread.
 */
import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { check, checkOutcome, errnoName, refused } from '../libc/errno.ts';
import {
  AT_EMPTY_PATH,
  AT_FDCWD,
  AT_RECURSIVE,
  asynchronous,
  lastErrno,
  mount,
  mountSetattr,
  moveMount,
  openTree,
  umount2,
} from '../libc/libc.ts';
import { OpenFile } from '../namespace/setns.ts';
import type { Mounts, Propagation } from '../ports/kernel.ts';
import { mountErofs } from './erofs.ts';
import { mountsBelow } from './mount-table.ts';
import { mountOverlay, quoted } from './overlay.ts';

const MS_NOSUID = 2;
const MS_NODEV = 4;
const MS_NOEXEC = 8;
const MS_SLAVE = 1n << 19n;
const MS_PRIVATE = 1n << 18n;
const MS_SHARED = 1n << 20n;
const MOUNT_ATTR_RDONLY = 1n;
const MOUNT_ATTR_IDMAP = 0x100000n;
const OPEN_TREE_CLONE = 1;
const OPEN_TREE_CLOEXEC = 0o2000000;
const MNT_DETACH = 2;
const UMOUNT_NOFOLLOW = 8;
/** More mounts than this on one path are not made by crisp. */
const STACKED = 64;
const EINVAL = 22;
const ENOENT = 2;
const EBUSY = 16;

const MS_UNBINDABLE = 1 << 17;

const propagationFlag: Readonly<Record<Exclude<Propagation, 'unbindable'>, bigint>> = {
  private: MS_PRIVATE,
  rslave: MS_SLAVE,
  rshared: MS_SHARED,
};

/** Sets attributes and propagation of the mount that the descriptor holds. */
function attributes(fd: number, set: bigint, propagation: bigint, recursive: boolean, what: string): void {
  const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  check(mountSetattr(fd, flags, new BigUint64Array([set, 0n, propagation, 0n])), what);
}

/** Owners as the pinned user namespace numbers them. The mount must not be attached yet (mount_setattr(2)). */
function mapOwners(fd: number, userNamespace: string, recursive: boolean, what: string): void {
  using pin = new OpenFile(userNamespace);
  const flags = AT_EMPTY_PATH | (recursive ? AT_RECURSIVE : 0);
  const attributes = new BigUint64Array([MOUNT_ATTR_IDMAP, 0n, 0n, BigInt(pin.fd)]);
  if (mountSetattr(fd, flags, attributes) >= 0) return;
  const errno = errnoName(lastErrno());
  throw new CrispError('FailedPrecondition', `${what}: id-mapped: ${errno}`, {
    errno,
    hint: 'put it on a file system that takes id-mapped mounts (ext4, xfs, btrfs; not overlay), on Linux 5.12 or later',
  });
}

/**
 * The readonly attribute covers the mount itself and not those below it, as CRI defines it; propagation covers the tree
 * where its name begins with r. The target's last component is not followed where it is a link.
 */
async function bind(request: Parameters<Mounts['bind']>[0]): Promise<void> {
  const { source, target, readonly = false, recursive = false, propagation, idMap } = request;
  const what = `bind ${source} at ${target}`;
  const flags = OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | (recursive ? AT_RECURSIVE : 0);
  const fd = check(openTree(AT_FDCWD, source, flags), what);
  try {
    if (idMap !== undefined) mapOwners(fd, idMap, recursive, what);
    if (readonly) attributes(fd, MOUNT_ATTR_RDONLY, 0n, false, `${what}: read-only`);
    if (propagation && propagation !== 'unbindable') {
      attributes(fd, 0n, propagationFlag[propagation], propagation !== 'private', `${what}: ${propagation}`);
    }
    checkOutcome(await moveMount(fd, target), what);
  } finally {
    closeSync(fd);
  }
  if (propagation === 'unbindable') await makeUnbindable(target, what);
}

/** Only once it is in its place: the kernel moves no unbindable mount below a shared one. */
async function makeUnbindable(target: string, what: string): Promise<void> {
  const outcome = await asynchronous(mount, null, target, null, MS_UNBINDABLE, null);
  if (outcome.result >= 0) return;
  await unmount(target);
  throw refused(`${what}: unbindable`, outcome.errno);
}

async function tmpfs(request: Parameters<Mounts['tmpfs']>[0]): Promise<void> {
  const { target, bytes, mode, options = [], noexec = false } = request;
  const data = options.map(quoted);
  if (bytes !== undefined) data.push(`size=${bytes}`);
  if (mode !== undefined) data.push(`mode=${mode.toString(8)}`);
  const flags = MS_NOSUID | MS_NODEV | (noexec ? MS_NOEXEC : 0);
  const outcome = await asynchronous(mount, 'tmpfs', target, 'tmpfs', flags, data.join(','));
  checkOutcome(outcome, `mount tmpfs at ${target}`);
}

/** Removes all that is mounted on the path itself, the topmost first. */
async function unmount(target: string): Promise<void> {
  for (let n = 0; n < STACKED; n++) {
    let outcome = await asynchronous(umount2, target, UMOUNT_NOFOLLOW);
    if (outcome.errno === EBUSY) outcome = await asynchronous(umount2, target, UMOUNT_NOFOLLOW | MNT_DETACH);
    if (outcome.result < 0 && (outcome.errno === EINVAL || outcome.errno === ENOENT)) return;
    checkOutcome(outcome, `unmount ${target}`);
  }
}

/** The kernel refuses an overlay of a single layer without an upper one: instead it is a read-only bind mount. */
async function overlay(request: Parameters<Mounts['overlay']>[0]): Promise<void> {
  const [only, ...others] = request.lower;
  if (only === undefined || others.length > 0 || request.upper !== undefined) return mountOverlay(request);
  await bind({ source: only, target: request.target, readonly: true });
}

/** The real mounts. */
export const mounts: Mounts = { overlay, bind, erofs: mountErofs, tmpfs, unmount, below: mountsBelow };
