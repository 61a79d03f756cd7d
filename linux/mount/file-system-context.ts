/** The context of a file system that is to be mounted: fsopen(2), fsconfig(2), fsmount(2). */
import { closeSync, readSync } from 'node:fs';
import { check, checkOutcome } from '../libc/errno.ts';
import { fsmount, moveMount } from '../libc/libc.ts';

export const FSOPEN_CLOEXEC = 1;
/** Commands of fsconfig(2). */
export const SET_FLAG = 0;
export const SET_STRING = 1;
/** fsconfig(2) takes values of up to 255 bytes. */
export const VALUE_LIMIT = 255;
const FSMOUNT_CLOEXEC = 1;
const MOUNT_ATTR_RDONLY = 1;

/** Mounts what the context has created. */
export async function attach(
  context: number,
  target: string,
  readonly: boolean,
  what: string,
): Promise<void> {
  const fd = check(fsmount(context, FSMOUNT_CLOEXEC, readonly ? MOUNT_ATTR_RDONLY : 0), what);
  try {
    checkOutcome(await moveMount(fd, target), what);
  } finally {
    closeSync(fd);
  }
}

/** The kernel's messages about a refusal: the context of fsopen(2) has its own log, one message for each read. */
export function kernelMessages(context: number): string {
  const lines: string[] = [];
  const buffer = Buffer.alloc(1024);
  for (let n = 0; n < 8; n++) {
    try {
      const length = readSync(context, buffer);
      lines.push(buffer.toString('utf8', 2, length).trim());
    } catch {
      break; // ENODATA: no more
    }
  }
  return lines.join('; ');
}
