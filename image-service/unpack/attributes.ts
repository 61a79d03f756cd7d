import { readFileSync } from 'node:fs';
import {
  cName,
  fchmod,
  fchmodat,
  fchown,
  fchownat,
  flags,
  fsetxattr,
  futimens,
  lsetxattr,
  must,
  utimensat,
} from '#linux/fs/at-syscalls.ts';
import { shown, type TarEntry } from './entry.ts';
import type { Directory } from './layer-tree.ts';
import type { Xattrs } from './xattrs.ts';

const NANO = 1_000_000_000n;

type Attributes = Pick<TarEntry, 'name' | 'mode' | 'uid' | 'gid' | 'mtime' | 'xattrs'>;

/** Access and modification time for utimensat: both the entry's, so that unpacking twice gives the same. */
export function timesOf(mtime: bigint): BigInt64Array {
  const nanos = ((mtime % NANO) + NANO) % NANO;
  const seconds = (mtime - nanos) / NANO;
  return new BigInt64Array([seconds, nanos, seconds, nanos]);
}

const SETGID = 0o2000;
/** From the kernel: process.umask() sets the mask of all threads for a moment, to read it. */
const UMASK = umaskOf(readFileSync('/proc/self/status', 'latin1'));

function umaskOf(status: string): number {
  const digits = /^Umask:\s*([0-7]+)$/m.exec(status)?.[1];
  return digits === undefined ? 0o777 : Number.parseInt(digits, 8); // unknown: each file is given its mode afterwards
}

/** The mode with which a file can be made, so that most need no further call: no setuid bits, none of the umask. */
export function creationMode(mode: number): number {
  return (mode & ~0o777) === 0 && (mode & UMASK) === 0 ? mode : 0o600;
}

/** A directory gets its setgid bit last: what is created in it before would inherit its group. */
export const withoutSetgid = (mode: number): number => mode & ~SETGID;
export const hasSetgid = (mode: number): boolean => (mode & SETGID) !== 0;

/**
 * Applies owner, mode, xattrs and time to an open file that root has created with the mode `made`. The order matters:
 * chown clears setuid bits and security.capability, a write clears both too.
 */
export function applyOpen(fd: number, entry: Attributes, xattrs: Xattrs, made?: number): void {
  const what = `set attributes of ${shown(entry.name)}`;
  if (made === undefined || entry.uid !== 0 || entry.gid !== 0) must(fchown(fd, entry.uid, entry.gid), what);
  if (made !== entry.mode) must(fchmod(fd, entry.mode), what);
  xattrs.apply(entry, (name, value) => fsetxattr(fd, name, value, value.length, 0), what);
  must(futimens(fd, timesOf(entry.mtime)), what);
}

/** The same for what cannot be opened: symlinks, devices, FIFOs; and for directories, whose times come last. */
export function applyAt(
  at: Directory,
  base: string,
  entry: Attributes,
  kind: 'link' | 'directory' | 'special',
  xattrs: Xattrs,
): void {
  const name = cName(base);
  const what = `set attributes of ${shown(entry.name)}`;
  must(fchownat(at.fd, name, entry.uid, entry.gid, flags.AT_SYMLINK_NOFOLLOW), what);
  if (kind !== 'link') must(fchmodat(at.fd, name, entry.mode, 0), what);
  const path = `/proc/self/fd/${at.fd}/${base}`;
  xattrs.apply(entry, (key, value) => lsetxattr(cName(path), key, value, value.length, 0), what);
  if (kind !== 'directory')
    must(utimensat(at.fd, name, timesOf(entry.mtime), flags.AT_SYMLINK_NOFOLLOW), what);
}
