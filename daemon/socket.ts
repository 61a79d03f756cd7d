import { lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { CrispError, errnoOf } from '#core/errors.ts';

/**
 * Frees the path of the socket: one that refuses connections is left from a daemon that was killed, and is removed.
 * Throws FailedPrecondition where a daemon accepts connections, or where the path is not a socket.
 */
export async function clearSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket()) {
    throw new CrispError('FailedPrecondition', `${path} exists and is not a socket`, {
      hint: 'move it away, or set socket',
    });
  }
  if (await accepts(path)) {
    throw new CrispError('FailedPrecondition', `another daemon serves ${path}`, {
      hint: 'stop it, or give this one its own socket',
    });
  }
  await rm(path, { force: true });
}

/** Whether a process accepts connections there. Throws other errnos than those of a socket that nobody serves. */
export function accepts(path: string): Promise<boolean> {
  return new Promise((resolve, reject) => {
    const socket = connect(path);
    socket.once('connect', () => {
      socket.destroy();
      resolve(true);
    });
    socket.once('error', (error) => {
      const errno = errnoOf(error);
      if (errno === 'ECONNREFUSED' || errno === 'ENOENT') resolve(false);
      else reject(error);
    });
  });
}
