import { closeSync, openSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { cName, getdents, lsetxattr, must } from '#linux/fs/at-syscalls.ts';
import { hasVerity } from '#linux/fs/verity.ts';
import { errnoName, namingSync } from '#linux/libc/errno.ts';

export interface DiskFeatures {
  /** Why `trusted.*` attributes, in which overlayfs keeps its own, cannot be set; undefined where they can. */
  readonly whyNoXattrs: string | undefined;
  /** Whether directories know the types of their entries, which overlayfs requires. */
  readonly hasEntryTypes: boolean;
  /** Whether files can be sealed by fs-verity. */
  readonly hasVerity: boolean;
}

const DIRENT_TYPE = 18;
const DT_UNKNOWN = 0;

/** Tries them in a directory, which gets a file. */
export function diskFeatures(directory: string): DiskFeatures {
  const path = join(directory, 'file');
  namingSync(`write ${path}`, () => writeFileSync(path, 'x'));
  return {
    whyNoXattrs: xattrFailure(path),
    hasEntryTypes: hasEntryTypes(directory),
    hasVerity: hasVerity(path),
  };
}

function xattrFailure(path: string): string | undefined {
  const value = Buffer.from('x');
  const result = lsetxattr(cName(path), cName('trusted.crisp.check'), value, value.length, 0);
  return result < 0 ? errnoName(-result) : undefined;
}

function hasEntryTypes(directory: string): boolean {
  const fd = openSync(directory, 'r');
  try {
    const entries = Buffer.alloc(4096);
    must(getdents(fd, entries), `read ${directory}`);
    return entries[DIRENT_TYPE] !== DT_UNKNOWN;
  } finally {
    closeSync(fd);
  }
}
