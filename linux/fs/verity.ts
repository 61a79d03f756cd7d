import { closeSync, openSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { errnoName, naming, namingSync, refused } from '../libc/errno.ts';
import { asynchronous, control, lastErrno } from '../libc/libc.ts';

/** _IOW('f', 133, struct fsverity_enable_arg), of 128 bytes. */
const FS_IOC_ENABLE_VERITY = 0x40806685;
const ARGUMENT_BYTES = 128;
/** _IOWR('f', 134, struct fsverity_digest), of 4 bytes and the digest, whose room they tell. */
const FS_IOC_MEASURE_VERITY = 0xc0046686;
const DIGEST_ROOM = 64;
const VERSION = 1;
const SHA256 = 1;
const BLOCK_BYTES = 4096;
/** The file system has none, or has it switched off. */
const NONE = ['EOPNOTSUPP', 'ENOTSUP', 'ENOTTY'];

/** See `Files.sealFile`. */
export async function sealFile(path: string): Promise<boolean> {
  const what = `enable fs-verity of ${path}`;
  const argument = Buffer.alloc(ARGUMENT_BYTES);
  for (const [index, value] of [VERSION, SHA256, BLOCK_BYTES].entries())
    argument.writeUInt32LE(value, index * 4);
  const file = await naming(what, () => open(path, 'r'));
  try {
    const { result, errno } = await asynchronous(control, file.fd, FS_IOC_ENABLE_VERITY, argument);
    if (result >= 0 || errnoName(errno) === 'EEXIST') return true;
    if (NONE.includes(errnoName(errno))) return false;
    throw refused(what, errno);
  } finally {
    await file.close();
  }
}

/** Whether the file system of an unsealed file could seal it: the digest that it does not have is ENODATA there. */
export function hasVerity(path: string): boolean {
  const fd = namingSync(`open ${path}`, () => openSync(path, 'r'));
  try {
    const request = Buffer.alloc(4 + DIGEST_ROOM);
    request.writeUInt16LE(DIGEST_ROOM, 2);
    return control(fd, FS_IOC_MEASURE_VERITY, request) < 0 && errnoName(lastErrno()) === 'ENODATA';
  } finally {
    closeSync(fd);
  }
}
