import { chmod, lstat, mkdir, rename, rm, rmdir } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { errnoOf } from '#core/errors.ts';

const NEW_SOCKET = 's';

/**
 * Binds a unix socket that only root can connect to until it has its mode: `bind` binds it in a directory that only root
 * may enter, then it is moved to `path`. (A umask of the process would also apply to what others create meanwhile.) What a
 * daemon that was killed amid this has left of the same path is removed. Throws what `bind` and the file system throw.
 */
export async function bindSocket(
  path: string,
  mode: number,
  bind: (path: string) => Promise<void>,
): Promise<void> {
  const directory = join(dirname(path), directoryName(basename(path)));
  await removeDirectory(directory);
  await mkdir(directory, { mode: 0o700 });
  try {
    const socket = join(directory, NEW_SOCKET);
    await bind(socket);
    await chmod(socket, mode);
    await rename(socket, path);
  } finally {
    await removeDirectory(directory);
  }
}

/** The socket's path in it is not longer than its final one, which may have all the bytes that the kernel takes (107). */
const directoryName = (socket: string): string => `.${socket.length > 4 ? socket.slice(0, -3) : socket}`;

/** Only what is made above: any other content is an error, and so is later what is not a directory. */
async function removeDirectory(directory: string): Promise<void> {
  try {
    if (!(await lstat(directory)).isDirectory()) return;
    await rm(join(directory, NEW_SOCKET), { force: true });
    await rmdir(directory);
  } catch (error) {
    if (errnoOf(error) !== 'ENOENT') throw error;
  }
}
