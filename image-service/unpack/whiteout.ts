/** How a layer's deletions are represented for overlayfs (Documentation/filesystems/overlayfs.rst). */
import type { Stats } from 'node:fs';
import { type CName, cName, lgetxattr, lsetxattr, must } from '#linux/fs/at-syscalls.ts';
import { hostile, shown } from './entry.ts';

/** The prefix that marks a deletion in an archive (OCI image-spec, layer.md). */
export const WHITEOUT_PREFIX = '.wh.';
const OPAQUE_MARKER = '.wh..wh..opq';
const AUFS_PREFIX = '.wh..wh.';

const OPAQUE = cName('trusted.overlay.opaque');
const YES = Buffer.from('y');

/** A character device 0:0. */
export const isWhiteout = (stat: Stats): boolean => stat.isCharacterDevice() && stat.rdev === 0;

export type Whiteout =
  | { readonly kind: 'delete'; readonly name: string }
  | { readonly kind: 'opaque' }
  | { readonly kind: 'ignored' };

/** The meaning of a base name: a deletion of `name`, an opaque directory, or an aufs marker that is ignored. */
export function readWhiteout(base: string): Whiteout {
  if (base === OPAQUE_MARKER) return { kind: 'opaque' };
  if (base.startsWith(AUFS_PREFIX)) return { kind: 'ignored' };
  const name = base.slice(WHITEOUT_PREFIX.length);
  if (name === '' || name === '.' || name === '..') throw hostile(`a whiteout of nothing: ${shown(base)}`);
  return { kind: 'delete', name };
}

/** Hides what lower layers have in the directory `base` of `at`. */
export function setOpaque(at: { readonly fd: number; readonly path: string }, base: string): void {
  const path = cName(`/proc/self/fd/${at.fd}/${base}`);
  must(lsetxattr(path, OPAQUE, YES, YES.length, 0), `mark ${shown(base)} in ${shown(at.path)} opaque`);
}

/** Whether the directory hides what lower layers have in it. */
export function isOpaque(path: CName): boolean {
  const value = Buffer.alloc(8);
  return lgetxattr(path, OPAQUE, value, value.length) === 1 && value[0] === YES[0];
}
