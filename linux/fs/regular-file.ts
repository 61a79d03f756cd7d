/**
 * Files at untrusted paths. Opening has effects: a device can start a watchdog, rewind a tape or raise a line, a pipe
 * waits for its other side. So the inode is held first (O_PATH opens nothing), checked, and only a regular file is opened,
 * through the descriptor that holds it: its name may meanwhile lead elsewhere.
 */
import { closeSync, constants, fstatSync, openSync, type PathLike, readSync } from 'node:fs';
import { type FileHandle, open } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import { O_PATH } from '../libc/libc.ts';

/** O_NONBLOCK is without effect on regular files; were it ever another kind, it would not be waited for. */
const READ = constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOCTTY;

const held = (fd: number): string => `/proc/self/fd/${fd}`;

/** A regular file, open for reading; undefined where the path leads to another kind. Throws Node's errors (ENOENT). */
export async function openRegular(path: PathLike): Promise<FileHandle | undefined> {
  await using holder = await open(path, O_PATH);
  return await openHeld(holder);
}

/** The file that an O_PATH handle holds, open for reading; undefined for another kind. */
export async function openHeld(holder: FileHandle): Promise<FileHandle | undefined> {
  if (!(await holder.stat()).isFile()) return undefined;
  const file = await open(held(holder.fd), READ);
  if ((await file.stat()).isFile()) return file;
  await file.close();
  return undefined;
}

/** The synchronous form of `openHeld`, of a descriptor, which stays open. */
export function openHeldSync(holder: number): number | undefined {
  if (!fstatSync(holder).isFile()) return undefined;
  const fd = openSync(held(holder), READ);
  if (fstatSync(fd).isFile()) return fd;
  closeSync(fd);
  return undefined;
}

const CHUNK = 64 << 10;

/**
 * The whole of a regular file of at most `limit` bytes. Throws FailedPrecondition for any other, and
 * Node's errors (ENOENT).
 */
export async function readRegular(path: string, limit: number): Promise<Buffer> {
  await using file = await openRegular(path);
  const refuse = (why: string) =>
    new CrispError('FailedPrecondition', `${path} ${why}`, { hint: 'put an ordinary file there' });
  if (!file) throw refuse('is not a regular file');
  const pieces: Buffer[] = [];
  for (let length = 0; ; ) {
    // Until its end, not its size: it may grow meanwhile, and files of proc have none.
    const piece = Buffer.allocUnsafe(CHUNK);
    const { bytesRead } = await file.read(piece, 0, CHUNK, length);
    if (bytesRead === 0) return Buffer.concat(pieces);
    length += bytesRead;
    if (length > limit) throw refuse(`is larger than ${limit} bytes`);
    pieces.push(piece.subarray(0, bytesRead));
  }
}

/** The bytes of an open regular file, at most `limit`; undefined where it has more. */
export function readWithin(fd: number, limit: number): Buffer | undefined {
  const { size } = fstatSync(fd);
  if (size > limit) return undefined;
  const bytes = Buffer.alloc(size);
  let length = 0;
  while (length < size) {
    const read = readSync(fd, bytes, length, size - length, length);
    if (read === 0) break;
    length += read;
  }
  return bytes.subarray(0, length);
}
