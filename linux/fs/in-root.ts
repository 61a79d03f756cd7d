/**
 * Files inside an untrusted root (an image): every path is resolved as if the root were `/`, by
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
  type Stats,
  writeFileSync,
} from 'node:fs';
import { posix } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { check, fromNode, namingSync, refused } from '../libc/errno.ts';
import { O_CLOEXEC, O_PATH, openat2 } from '../libc/libc.ts';
import { openHeldSync, readWithin } from './regular-file.ts';

const RESOLVE_NO_MAGICLINKS = 2n;
const RESOLVE_IN_ROOT = 16n;

function openInside(rootFd: number, path: string, flags: number): number {
  const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), 0n, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS]);
  return check(openat2(rootFd, path, how), `open ${path} inside the root`);
}

/** O_PATH; undefined where there is nothing. Other refusals (too many open files) must not be taken for a missing file. */
function find(rootFd: number, path: string): number | undefined {
  try {
    return openInside(rootFd, path, O_PATH);
  } catch (error) {
    if (['ENOENT', 'ENOTDIR', 'ELOOP'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}

function withRoot<T>(root: string, act: (fd: number) => T): T {
  const fd = openSync(root, constants.O_DIRECTORY | constants.O_RDONLY | O_PATH);
  try {
    return act(fd);
  } finally {
    closeSync(fd);
  }
}

/**
 * The bytes of a regular file; undefined where there is none, or a directory. Throws InvalidArgument for a device, a pipe
 * or a socket, which is not opened (and which the OCI runtime, that reads the same files, would wait for), and for a file
 * of more than `limit` bytes.
 */
export function readInRoot(root: string, path: string, limit: number): Buffer | undefined {
  return withRoot(root, (rootFd) => {
    const holder = find(rootFd, path);
    if (holder === undefined) return undefined;
    const refuse = (why: string) =>
      new CrispError('InvalidArgument', `/${path} inside the root ${why}`, { hint: 'fix the image' });
    let fd: number | undefined;
    try {
      fd = openHeldSync(holder);
      if (fd === undefined) {
        if (fstatSync(holder).isDirectory()) return undefined;
        throw refuse('is a device, a pipe or a socket');
      }
      const bytes = readWithin(fd, limit);
      if (!bytes) throw refuse(`is larger than ${limit} bytes`);
      return bytes;
    } finally {
      if (fd !== undefined) closeSync(fd);
      closeSync(holder);
    }
  });
}

/**
 * Appends to a regular file; nothing happens where there is none, or another kind of file, or one that is to be left alone.
 * Throws Node's errors (ENOSPC).
 */
export function appendInRoot(
  root: string,
  path: string,
  text: string,
  isLeft: (file: Stats) => boolean = () => false,
): void {
  withRoot(root, (rootFd) => {
    const holder = find(rootFd, path);
    if (holder === undefined) return;
    try {
      const file = fstatSync(holder);
      if (!file.isFile() || isLeft(file)) return;
      const fd = openSync(held(holder), constants.O_WRONLY | constants.O_APPEND | constants.O_NONBLOCK);
      try {
        writeFileSync(fd, text);
      } finally {
        closeSync(fd);
      }
    } finally {
      closeSync(holder);
    }
  });
}

/** The real path on the host of what a path inside the root leads to, of any kind; undefined where there is nothing. */
export function pathInRoot(root: string, path: string): string | undefined {
  return withRoot(root, (rootFd) => {
    const fd = find(rootFd, path);
    if (fd === undefined) return undefined;
    try {
      return readlinkSync(held(fd));
    } finally {
      closeSync(fd);
    }
  });
}

const LINK_LIMIT = 40;

/**
 * Makes a directory and its parents inside the root (0755, owned by `owner`), and returns its real path on the host.
 * One that exists is left as it is; of a link that leads to nothing inside the root, what it leads to is made. Throws
 * where a part of the path is not a directory.
 */
export function mkdirInRoot(root: string, path: string, owner: { uid: number; gid: number }): string {
  return withRoot(root, (rootFd) => {
    const { at, link } = descend(rootFd, path, owner);
    let [found, left] = [at, link];
    try {
      for (let links = 0; left !== undefined; links++) {
        if (links >= LINK_LIMIT) throw refused(`make ${path} inside the root`, 'ELOOP');
        closeSync(found);
        ({ at: found, link: left } = descend(rootFd, left, owner));
      }
      return readlinkSync(held(found));
    } finally {
      closeSync(found);
    }
  });
}

/** Through /proc/self/fd a directory is the one that was opened, whatever its path has become since. */
const held = (fd: number): string => `/proc/self/fd/${fd}`;

/** As far as it goes without a dangling link: `link` is then the path to continue with, from the root. */
function descend(
  rootFd: number,
  path: string,
  owner: { uid: number; gid: number },
): { at: number; link?: string } {
  let at = openInside(rootFd, '.', constants.O_DIRECTORY | O_PATH);
  let walked = '';
  // Never upwards: `..` is dropped.
  const parts = path.split('/').filter((name) => !['', '.', '..'].includes(name));
  try {
    for (const [index, part] of parts.entries()) {
      walked += `/${part}`;
      const next = openOrMake(rootFd, at, part, walked, owner);
      if (typeof next === 'string') {
        const parent = next.startsWith('/')
          ? ''
          : readlinkSync(held(at)).slice(readlinkSync(held(rootFd)).length);
        return { at, link: posix.normalize(['', parent, next, ...parts.slice(index + 1)].join('/')) };
      }
      closeSync(at);
      at = next;
    }
    return { at };
  } catch (error) {
    closeSync(at);
    throw error;
  }
}

/** The directory, or the target of a dangling link in its place. */
function openOrMake(
  rootFd: number,
  parent: number,
  part: string,
  walked: string,
  owner: { uid: number; gid: number },
): number | string {
  try {
    return openInside(rootFd, walked, constants.O_DIRECTORY | O_PATH);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const path = `${held(parent)}/${part}`;
  try {
    mkdirSync(path, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw fromNode(error, `make ${walked} inside the root`);
    return namingSync(`make ${walked} inside the root`, () => readlinkSync(path));
  }
  const fd = openInside(rootFd, walked, constants.O_DIRECTORY | constants.O_RDONLY);
  fchownSync(fd, owner.uid, owner.gid);
  return fd;
}
