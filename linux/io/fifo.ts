import { closeSync, constants, openSync } from 'node:fs';
import { check, namingSync } from '../libc/errno.ts';
import { control } from '../libc/libc.ts';

const FIONREAD = 0x541b;

/**
 * The bytes that have been written to a FIFO and not been read yet. Throws where it is not open for reading (ENXIO),
 * or missing.
 */
export function unreadBytes(path: string): number {
  const what = `read the fill level of the FIFO ${path}`;
  const fd = namingSync(what, () => openSync(path, constants.O_WRONLY | constants.O_NONBLOCK));
  try {
    const count = new Uint8Array(4);
    check(control(fd, FIONREAD, count), what);
    return new DataView(count.buffer).getInt32(0, true);
  } finally {
    closeSync(fd);
  }
}
