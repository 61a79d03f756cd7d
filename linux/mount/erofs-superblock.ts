import { open, stat } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import { naming } from '../libc/errno.ts';

/** Place and size of the superblock, its magic number (Linux, fs/erofs/erofs_fs.h). */
const OFFSET = 1024;
const LENGTH = 128;
const MAGIC = 0xe0f5e1e2;
const BLOCK_BITS = 12;
const BLOCKS = 36;

/**
 * Throws DataLoss where the file is no EROFS image or shorter than its superblock says: the kernel mounts such a one, and what
 * is missing becomes an IO error, or SIGBUS, of the program that reads it.
 */
export async function checkErofsImage(image: string, what: string): Promise<void> {
  const superblock = Buffer.alloc(LENGTH);
  const read = await naming(`${what}: read ${image}`, async () => {
    // Before it is opened: a fifo in its place would never open.
    if (!(await stat(image)).isFile()) return 0;
    const file = await open(image, 'r');
    try {
      return (await file.read(superblock, 0, LENGTH, OFFSET)).bytesRead;
    } finally {
      await file.close();
    }
  });
  if (read < LENGTH || superblock.readUInt32LE(0) !== MAGIC) throw damaged(`${what}: not an EROFS image`);
  const wanted = superblock.readUInt32LE(BLOCKS) * 2 ** superblock.readUInt8(BLOCK_BITS);
  const { size } = await naming(`${what}: stat ${image}`, () => stat(image));
  if (size < wanted) throw damaged(`${what}: the image has ${size} bytes of ${wanted}`);
}

const damaged = (message: string): CrispError =>
  new CrispError('DataLoss', message, { hint: 'pull the image again' });
