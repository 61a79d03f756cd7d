import { closeSync } from 'node:fs';
import { check, checkOutcome, refused } from '../libc/errno.ts';
import { fsconfig, fsconfigCreate, fsmount, fsopen, moveMount } from '../libc/libc.ts';
import type { Mounts } from '../ports/kernel.ts';

const FSOPEN_CLOEXEC = 1;
const FSMOUNT_CLOEXEC = 1;
const SET_FLAG = 0;
const SET_STRING = 1;
const MOUNT_ATTR_RDONLY = 1;

/** Mounts an EROFS image; see `Mounts.erofs`. */
export async function mountErofs(request: Parameters<Mounts['erofs']>[0]): Promise<void> {
  const { image, target } = request;
  const what = `mount erofs ${image} at ${target}`;
  const context = check(fsopen('erofs', FSOPEN_CLOEXEC), what);
  try {
    check(fsconfig(context, SET_STRING, 'source', image), what);
    // Unknown before Linux 6.13, and refused where the file system has no direct IO: then it is cached twice.
    fsconfig(context, SET_FLAG, 'directio', null);
    const created = await fsconfigCreate(context);
    if (created.result < 0) throw refused(what, created.errno);
    const fd = check(fsmount(context, FSMOUNT_CLOEXEC, MOUNT_ATTR_RDONLY), what);
    try {
      checkOutcome(await moveMount(fd, target), what);
    } finally {
      closeSync(fd);
    }
  } finally {
    closeSync(context);
  }
}
