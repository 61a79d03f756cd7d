/**
 * Files inside an untrusted root (an image): every path is resolved as if the root were `/`, by
 * the kernel itself (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6), so that no link in it leads outside.
 */
import { closeSync, constants, fstatSync, openSync, readlinkSync, type Stats, writeFileSync } from 'node:fs';
import { chown, mkdir } from 'node:fs/promises';
import { posix } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { check, fromNode, namingSync, refused } from '../libc/errno.ts';
import { O_CLOEXEC, O_PATH, openat2 } from '../libc/libc.ts';
import { openHeldSync, readWithin } from './regular-file.ts';

const RESOLVE_NO_MAGICLINKS = 2n;
const RESOLVE_NO_SYMLINKS = 4n;
const RESOLVE_IN_ROOT = 16n;
/** Of a path, its NUL included (limits.h). */
const PATH_MAX = 4096;

function openInside(rootFd: number, path: string, flags: number): number {
  const how = new BigUint64Array([BigInt(flags | O_CLOEXEC), 0n, RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS]);
  return check(openat2(rootFd, path, how), `open ${path} inside the root`);
}

/** A part of a path in its directory. From the root the kernel would walk all that is above, for each part again. */
function openPart(rootFd: number, parent: number, part: string, walked: string): number {
  const flags = BigInt(constants.O_DIRECTORY | O_PATH | O_CLOEXEC);
  const how = new BigUint64Array([flags, 0n, RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS]);
  try {
    return check(openat2(parent, part, how), `open ${walked} inside the root`);
  } catch (error) {
    if (errnoOf(error) !== 'ELOOP') throw error;
  }
  return openInside(rootFd, walked, constants.O_DIRECTORY | O_PATH);
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
 * Makes a directory and its parents inside the root (0755, owned by `owner`), and resolves with its real path on the host.
 * One that exists is left as it is; of a link that leads to nothing inside the root, what it leads to is made. Throws
 * where a part of the path is not a directory. A path may have thousands of parts: the thread does not wait for their disk.
 */
export async function mkdirInRoot(
  root: string,
  path: string,
  owner: { uid: number; gid: number },
): Promise<string> {
  const rootFd = openSync(root, constants.O_DIRECTORY | constants.O_RDONLY | O_PATH);
  try {
    let { at, link } = await descend(rootFd, path, owner);
    try {
      for (let links = 0; link !== undefined; links++) {
        if (links >= LINK_LIMIT) throw refused(`make ${path} inside the root`, 'ELOOP');
        const next = await descend(rootFd, link, owner);
        closeSync(at);
        ({ at, link } = next);
      }
      return readlinkSync(held(at));
    } finally {
      closeSync(at);
    }
  } finally {
    closeSync(rootFd);
  }
}

/** Through /proc/self/fd a directory is the one that was opened, whatever its path has become since. */
const held = (fd: number): string => `/proc/self/fd/${fd}`;

/** As far as it goes without a dangling link: `link` is then the path to continue with, from the root. */
async function descend(
  rootFd: number,
  path: string,
  owner: { uid: number; gid: number },
): Promise<{ at: number; link?: string | undefined }> {
  // The kernel would refuse it when the half is made.
  if (Buffer.byteLength(path) >= PATH_MAX) throw refused('make a directory inside the root', 'ENAMETOOLONG');
  let at = openInside(rootFd, '.', constants.O_DIRECTORY | O_PATH);
  let walked = '';
  // Never upwards: `..` is dropped.
  const parts = path.split('/').filter((name) => !['', '.', '..'].includes(name));
  try {
    for (const [index, part] of parts.entries()) {
      walked += `/${part}`;
      const next = await openOrMake(rootFd, at, part, walked, owner);
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
async function openOrMake(
  rootFd: number,
  parent: number,
  part: string,
  walked: string,
  owner: { uid: number; gid: number },
): Promise<number | string> {
  try {
    return openPart(rootFd, parent, part, walked);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
  const path = `${held(parent)}/${part}`;
  try {
    await mkdir(path, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw fromNode(error, `make ${walked} inside the root`);
    return namingSync(`make ${walked} inside the root`, () => readlinkSync(path));
  }
  const fd = openPart(rootFd, parent, part, walked);
  try {
    await chown(held(fd), owner.uid, owner.gid); // fchown(2) takes no descriptor of O_PATH
    return fd;
  } catch (error) {
    closeSync(fd);
    throw fromNode(error, `own ${walked} inside the root`);
  }
}
