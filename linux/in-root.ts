/**
 * Files inside a root that somebody else has filled (an image): every path is resolved as if the root were `/`, by
 * the kernel itself (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6), so that no link in it leads outside.
 */
import {
  closeSync,
  constants,
  fchownSync,
  fstatSync,
  mkdirSync,
  openSync,
  readlinkSync,
  readSync,
} from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { check } from './errno.ts';
import { O_CLOEXEC, O_PATH, openat2 } from './libc.ts';

const RESOLVE_NO_MAGICLINKS = 2n;
const RESOLVE_IN_ROOT = 16n;

function openInside(rootFd: number, path: string, flags: number): number {
  const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), 0n, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS]);
  return check(openat2(rootFd, path, how), `open ${path} inside the root`);
}

function withRoot<T>(root: string, act: (fd: number) => T): T {
  const fd = openSync(root, constants.O_DIRECTORY | constants.O_RDONLY | O_PATH);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/** At most `limit` bytes of a regular file; undefined where there is none (a directory or a device counts as none). */
export function readInRoot(root: string, path: string, limit: number): Buffer | undefined {
  return withRoot(root, (rootFd) => {
    let fd: number;
    try {
      fd = openInside(rootFd, path, constants.O_RDONLY | constants.O_NONBLOCK);
    } catch {
      return undefined;
    }
    try {
      const found = fstatSync(fd);
      if (!found.isFile()) return undefined;
      const bytes = Buffer.alloc(Math.min(found.size, limit));
      return bytes.subarray(0, readSync(fd, bytes, 0, bytes.length, 0));
    } finally {
      closeSync(fd);
    }
  });
}

/** The real path on the host of what a path inside the root leads to, of any kind; undefined where there is nothing. */
export function pathInRoot(root: string, path: string): string | undefined {
  return withRoot(root, (rootFd) => {
    let fd: number;
    try {
      fd = openInside(rootFd, path, O_PATH);
    } catch (error) {
      if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
      throw error;
    }
    try {
      return readlinkSync(`/proc/self/fd/${fd}`);
    } finally {
      closeSync(fd);
    }
  });
}

/**
 * Makes a directory and its parents inside the root (0755, owned by `owner`), and returns its real path on the host.
 * One that exists is left as it is. Throws where a part of the path is no directory.
 */
export function mkdirInRoot(root: string, path: string, owner: { uid: number; gid: number }): string {
  return withRoot(root, (rootFd) => {
    let at = openInside(rootFd, '.', constants.O_DIRECTORY | O_PATH);
    let walked = '';
    try {
      for (const part of path.split('/').filter((name) => name !== '' && name !== '.')) {
        if (part === '..') continue; // never upwards: `a/../../b` means `/a/b` to nobody, so it is not followed
        walked += `/${part}`;
        const next = openOrMake(rootFd, at, part, walked, owner);
        closeSync(at);
        at = next;
      }
      return readlinkSync(`/proc/self/fd/${at}`);
    } finally {
      closeSync(at);
    }
  });
}

function openOrMake(
  rootFd: number,
  parent: number,
  part: string,
  walked: string,
  owner: { uid: number; gid: number },
): number {
  try {
    return openInside(rootFd, walked, constants.O_DIRECTORY | O_PATH);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  // Through /proc/self/fd the parent is the directory that was opened, whatever its path has become since.
  mkdirSync(`/proc/self/fd/${parent}/${part}`, { mode: 0o755 });
  const fd = openInside(rootFd, walked, constants.O_DIRECTORY | constants.O_RDONLY);
  fchownSync(fd, owner.uid, owner.gid);
  return fd;
}
