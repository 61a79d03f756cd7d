/** What is taken over from entries of the layers below. */
import type { BigIntStats } from 'node:fs';
import { cName, lgetxattr, llistxattr, must } from '#linux/fs/at-syscalls.ts';
import { shown } from '../unpack/entry.ts';
import type { Attributes } from './inode.ts';
import { encodeXattr } from './xattr-table.ts';

const XATTR_LIMIT = 65_536;

export const lowerAttributes = (stat: BigIntStats): Attributes => ({
  mode: Number(stat.mode) & 0o7777,
  uid: Number(stat.uid),
  gid: Number(stat.gid),
  mtime: stat.mtimeNs,
});

/** The extended attributes of a file, as an image stores them; without overlayfs's own and the label of the node's policy. */
export function lowerXattrs(location: Buffer, path: string): Map<string, Buffer> {
  const found = new Map<string, Buffer>();
  const source = Buffer.concat([location, Buffer.from([0])]);
  const list = Buffer.alloc(XATTR_LIMIT);
  const length = llistxattr(source, list, list.length);
  if (length <= 0) return found;
  const value = Buffer.alloc(XATTR_LIMIT);
  for (const key of list.toString('latin1', 0, length).split('\0')) {
    if (key === '' || key.startsWith('trusted.overlay.') || key === 'security.selinux') continue;
    const size = must(
      lgetxattr(source, cName(key), value, value.length),
      `copy attributes of ${shown(path)}`,
    );
    const entry = encodeXattr(key, value.subarray(0, size));
    if (entry) found.set(key, entry);
  }
  return found;
}
