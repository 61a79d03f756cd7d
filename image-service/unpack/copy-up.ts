import { lstatSync } from 'node:fs';
import {
  cName,
  fchmodat,
  fchownat,
  flags,
  lgetxattr,
  linkat,
  llistxattr,
  lsetxattr,
  mknodat,
  must,
  symlinkat,
  utimensat,
} from '#linux/fs/at-syscalls.ts';
import { timesOf } from './attributes.ts';
import { copyContent } from './copy-content.ts';
import { hostile, shown } from './entry.ts';
import type { Directory } from './layer-tree.ts';
import type { LowerEntry } from './lower-view.ts';

const XATTR_LIMIT = 65536;

/** Copies a file, symlink, device or FIFO of a lower layer, with all its attributes. */
export function copyUp(from: LowerEntry, at: Directory, base: string, target: () => string): void {
  const { stat } = from;
  const name = cName(base);
  const what = `copy up ${shown(from.path)}`;
  if (stat.isDirectory()) throw hostile(`a hard link to the directory ${shown(from.path)}`);
  if (stat.isFile()) {
    copyContent(from.location, procPath(at, base), stat);
  } else if (stat.isSymbolicLink()) {
    must(symlinkat(cName(target()), at.fd, name), what);
  } else {
    must(mknodat(at.fd, name, stat.mode, BigInt(stat.rdev)), what);
  }
  copyAttributes(from, at, base);
}

/** Gives `base` in `at` owner, mode, xattrs and times of the lower entry. */
export function copyAttributes(from: LowerEntry, at: Directory, base: string): void {
  const name = cName(base);
  const what = `copy attributes of ${shown(from.path)}`;
  const { uid, gid, mode } = from.stat;
  must(fchownat(at.fd, name, uid, gid, flags.AT_SYMLINK_NOFOLLOW), what);
  if (!from.stat.isSymbolicLink()) must(fchmodat(at.fd, name, mode & 0o7777, 0), what);
  copyXattrs(from.location, Buffer.concat([procPath(at, base), Buffer.from([0])]), what);
  must(
    utimensat(
      at.fd,
      name,
      timesOf(lstatSync(from.location, { bigint: true }).mtimeNs),
      flags.AT_SYMLINK_NOFOLLOW,
    ),
    what,
  );
}

/** Another name for an existing file of the layer. */
export function link(from: Directory, fromBase: string, to: Directory, base: string): void {
  const what = `link ${shown(fromBase)} to ${shown(base)}`;
  must(linkat(from.fd, cName(fromBase), to.fd, cName(base), 0), what);
}

const procPath = (at: Directory, base: string): Buffer =>
  Buffer.from(`/proc/self/fd/${at.fd}/${base}`, 'latin1');

function copyXattrs(from: Buffer, to: Buffer, what: string): void {
  const source = Buffer.concat([from, Buffer.from([0])]);
  const list = Buffer.alloc(XATTR_LIMIT);
  const length = llistxattr(source, list, list.length);
  if (length <= 0) return;
  for (const key of list.toString('latin1', 0, length).split('\0')) {
    if (key === '' || key.startsWith('trusted.overlay.') || key === 'security.selinux') continue;
    const value = Buffer.alloc(XATTR_LIMIT);
    const size = must(lgetxattr(source, cName(key), value, value.length), what);
    must(lsetxattr(to, cName(key), value, size, 0), what);
  }
}
