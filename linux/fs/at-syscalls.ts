/**
 * Synchronous calls on open directories, for the threads that unpack layers: each costs 0.3 µs and blocks its thread,
 * so none is for the main thread. Every call returns what C returns, or the negative errno; `must` turns that into an
 * error. Names are bytes that end in NUL (`cName`): names in an archive need not be UTF-8.
 */
import { readSync } from 'node:fs';
import koffi, { type KoffiFunc } from 'koffi';
import { refused } from '../libc/errno.ts';
import { EAGAIN, retried } from '../libc/openat2-retry.ts';

const libc = koffi.load(null);

function bind<A extends unknown[]>(definition: string): (...args: A) => number {
  const call = libc.func(definition) as unknown as KoffiFunc<(...args: A) => number>;
  return (...args) => {
    const result = call(...args);
    return result < 0 ? -koffi.errno() : result;
  };
}

/** Bytes of a name with the NUL that ends it. */
export type CName = Uint8Array;

/** From a text whose characters are bytes (latin1). */
export const cName = (bytes: string): CName => Buffer.from(`${bytes}\0`, 'latin1');

/** Passes a result on, or throws the error of its errno. */
export function must(result: number, what: string): number {
  if (result < 0) throw refused(what, -result);
  return result;
}

export const flags = {
  O_RDONLY: 0,
  O_WRONLY: 1,
  O_CREAT: 0o100,
  O_EXCL: 0o200,
  O_DIRECTORY: 0o200000,
  O_NOFOLLOW: 0o400000,
  O_CLOEXEC: 0o2000000,
  O_PATH: 0o10000000,
  AT_SYMLINK_NOFOLLOW: 0x100,
  AT_REMOVEDIR: 0x200,
  SEEK_DATA: 3,
  SEEK_HOLE: 4,
  RESOLVE_NO_XDEV: 0x01,
  RESOLVE_NO_MAGICLINKS: 0x02,
  RESOLVE_NO_SYMLINKS: 0x04,
  RESOLVE_BENEATH: 0x08,
  RESOLVE_IN_ROOT: 0x10,
} as const;

// O_DIRECTORY and O_NOFOLLOW have other bits on Arm.
export const O_DIRECTORY = process.arch === 'arm64' ? 0o40000 : flags.O_DIRECTORY;
export const O_NOFOLLOW = process.arch === 'arm64' ? 0o100000 : flags.O_NOFOLLOW;

const openat2 = bind<[number, number, CName, BigUint64Array, number]>(
  'long syscall(long n, long fd, const uint8_t *path, const uint64_t *how, size_t size)',
);
const openat2Call = (...call: Parameters<typeof openat2>): number =>
  retried(
    () => openat2(...call),
    (result) => result === -EAGAIN,
  );
const how = (openFlags: number, resolve: number): BigUint64Array =>
  new BigUint64Array([BigInt(openFlags | flags.O_CLOEXEC), 0n, BigInt(resolve)]);
const beneath = how(flags.O_PATH | O_DIRECTORY, flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS);

/** Opens a directory below `root` (O_PATH), the kernel refusing every `..` out of it and every symbolic link. */
export const openDirectoryBeneath = (root: number, path: CName): number =>
  openat2Call(437, root, path, beneath, beneath.byteLength);

/** Opens a path as if `root` were `/`: links lead at most to its top. The last part is followed unless the flags say. */
export const openInRoot = (root: number, path: CName, openFlags: number): number =>
  openat2Call(
    437,
    root,
    path,
    how(openFlags, flags.RESOLVE_IN_ROOT | flags.RESOLVE_NO_MAGICLINKS),
    beneath.byteLength,
  );

/** Opens a path below a directory, the kernel refusing every `..` out of it and every link on the way. */
export const openBeneath = (directory: number, path: CName, openFlags: number): number =>
  openat2Call(
    437,
    directory,
    path,
    how(openFlags, flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS | flags.RESOLVE_NO_MAGICLINKS),
    beneath.byteLength,
  );

const child = how(
  flags.O_PATH | O_NOFOLLOW,
  flags.RESOLVE_NO_XDEV | flags.RESOLVE_BENEATH | flags.RESOLVE_NO_SYMLINKS | flags.RESOLVE_NO_MAGICLINKS,
);

/** Opens an entry of a directory by its path (O_PATH), a link itself; -EXDEV where something is mounted on it. */
export const openChild = (directory: number, name: CName): number =>
  openat2Call(437, directory, name, child, child.byteLength);

export const openat = bind<[directory: number, name: CName, openFlags: number, mode: number]>(
  'int openat(int directory, const uint8_t *name, int flags, int mode)',
);
export const mkdirat = bind<[directory: number, name: CName, mode: number]>(
  'int mkdirat(int directory, const uint8_t *name, unsigned int mode)',
);
/** `mode` with the type's bits; a whiteout of overlayfs is S_IFCHR with device 0. */
export const mknodat = bind<[directory: number, name: CName, mode: number, device: bigint]>(
  'int mknodat(int directory, const uint8_t *name, unsigned int mode, uint64_t device)',
);
export const symlinkat = bind<[target: CName, directory: number, name: CName]>(
  'int symlinkat(const uint8_t *target, int directory, const uint8_t *name)',
);
export const linkat = bind<[from: number, name: CName, to: number, newName: CName, atFlags: number]>(
  'int linkat(int from, const uint8_t *name, int to, const uint8_t *new_name, int flags)',
);
export const unlinkat = bind<[directory: number, name: CName, atFlags: number]>(
  'int unlinkat(int directory, const uint8_t *name, int flags)',
);
export const renameat = bind<[from: number, name: CName, to: number, newName: CName]>(
  'int renameat(int from, const uint8_t *name, int to, const uint8_t *new_name)',
);
export const readlinkat = bind<[directory: number, name: CName, target: Uint8Array, size: number]>(
  'long readlinkat(int directory, const uint8_t *name, uint8_t *target, size_t size)',
);
export const fchownat = bind<[directory: number, name: CName, uid: number, gid: number, atFlags: number]>(
  'int fchownat(int directory, const uint8_t *name, unsigned int uid, unsigned int gid, int flags)',
);
/** Follows a symbolic link: only for what the caller has just made. */
export const fchmodat = bind<[directory: number, name: CName, mode: number, atFlags: number]>(
  'int fchmodat(int directory, const uint8_t *name, unsigned int mode, int flags)',
);
/** `times` is access and modification, each seconds and nanoseconds. */
export const utimensat = bind<[directory: number, name: CName, times: BigInt64Array, atFlags: number]>(
  'int utimensat(int directory, const uint8_t *name, const int64_t *times, int flags)',
);
export const futimens = bind<[fd: number, times: BigInt64Array]>(
  'int futimens(int fd, const int64_t *times)',
);
export const fchown = bind<[fd: number, uid: number, gid: number]>(
  'int fchown(int fd, unsigned int uid, unsigned int gid)',
);
export const fchmod = bind<[fd: number, mode: number]>('int fchmod(int fd, unsigned int mode)');
export const fsetxattr = bind<[fd: number, name: CName, value: Uint8Array, size: number, setFlags: number]>(
  'int fsetxattr(int fd, const uint8_t *name, const uint8_t *value, size_t size, int flags)',
);
export const lsetxattr = bind<[path: CName, name: CName, value: Uint8Array, size: number, setFlags: number]>(
  'int lsetxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)',
);
export const lgetxattr = bind<[path: CName, name: CName, value: Uint8Array, size: number]>(
  'long lgetxattr(const uint8_t *path, const uint8_t *name, uint8_t *value, size_t size)',
);
const setxattr = bind<[path: CName, name: CName, value: Uint8Array, size: number, setFlags: number]>(
  'int setxattr(const uint8_t *path, const uint8_t *name, const uint8_t *value, size_t size, int flags)',
);
const getxattr = bind<[path: CName, name: CName, value: Uint8Array, size: number]>(
  'long getxattr(const uint8_t *path, const uint8_t *name, uint8_t *value, size_t size)',
);
/** fsetxattr(2) and fgetxattr(2) take no descriptor of O_PATH; through /proc it is the very file, a link itself. */
export const setXattrOf = (fd: number, name: CName, value: Uint8Array): number =>
  setxattr(cName(`/proc/self/fd/${fd}`), name, value, value.length, 0);
export const getXattrOf = (fd: number, name: CName, value: Uint8Array): number =>
  getxattr(cName(`/proc/self/fd/${fd}`), name, value, value.length);
const removexattr = bind<[path: CName, name: CName]>(
  'int removexattr(const uint8_t *path, const uint8_t *name)',
);
export const removeXattrOf = (fd: number, name: CName): number =>
  removexattr(cName(`/proc/self/fd/${fd}`), name);
export const llistxattr = bind<[path: CName, list: Uint8Array, size: number]>(
  'long llistxattr(const uint8_t *path, uint8_t *list, size_t size)',
);
/** The next offset with data, or the next hole (lseek(2)); ENXIO where there is none before the end. */
export const seekFile = bind<[fd: number, offset: number, whence: number]>(
  'int64_t lseek(int fd, int64_t offset, int whence)',
);
export const close = bind<[fd: number]>('int close(int fd)');

/** Makes a device number as the kernel and C count it. */
export const makeDevice = (major: number, minor: number): bigint => {
  const [a, b] = [BigInt(major), BigInt(minor)];
  return ((a & 0xfffff000n) << 32n) | ((a & 0xfffn) << 8n) | ((b & 0xffffff00n) << 12n) | (b & 0xffn);
};

const setpriority = bind<[which: number, who: number, value: number]>(
  'int setpriority(int which, unsigned int who, int value)',
);

/** Lowers this thread's share of the processor (not the process's). Refusal is ignored. */
export function niceThread(value: number): void {
  const PRIO_PROCESS = 0;
  setpriority(PRIO_PROCESS, 0, value); // Linux applies `who` 0 to the calling thread
}

const getdentsCall = bind<[n: number, fd: number, entries: Uint8Array, size: number]>(
  'long syscall(long n, long fd, uint8_t *entries, unsigned long size)',
);
/** getdents64(2): records of linux_dirent64; the type of an entry is the byte at offset 18. */
export const getdents = (fd: number, entries: Uint8Array): number =>
  getdentsCall(process.arch === 'arm64' ? 61 : 217, fd, entries, entries.length);

const ioprioSet = bind<[n: number, which: number, who: number, priority: number]>(
  'long syscall(long n, long which, long who, long priority)',
);

/** This thread's reads and writes wait for those of all others (ioprio_set(2), class idle). Refusal is ignored. */
export function idleDiskThread(): void {
  const IOPRIO_WHO_PROCESS = 1;
  const IDLE = 3 << 13;
  ioprioSet(process.arch === 'arm64' ? 30 : 251, IOPRIO_WHO_PROCESS, 0, IDLE);
}

/** Fills the buffer from a file's position; fewer bytes only at its end. */
export function readFully(fd: number, buffer: Uint8Array, position: number): number {
  let at = 0;
  while (at < buffer.length) {
    const read = readSync(fd, buffer, at, buffer.length - at, position + at);
    if (read === 0) break;
    at += read;
  }
  return at;
}

const syncFileRange = bind<[fd: number, offset: number, length: number, syncFlags: number]>(
  'int sync_file_range(int fd, int64_t offset, int64_t length, unsigned int flags)',
);

/** Has the kernel start to write a part of a file to the disk, without waiting for it. Refusal is ignored: a sync follows. */
export function startWriteback(fd: number, offset: number, length: number): void {
  const SYNC_FILE_RANGE_WRITE = 2;
  syncFileRange(fd, offset, length, SYNC_FILE_RANGE_WRITE);
}
