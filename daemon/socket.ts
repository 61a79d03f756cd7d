import { lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { CrispError, errnoOf } from '#core/errors.ts';

/**
 * Makes room for the socket: one that nobody answers on is left from a daemon that was killed, and is removed. Throws
 * FailedPrecondition where somebody answers, or where the path is no socket.
 */
export async function clearSocket(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return;
  if (!found.isSocket()) {
    throw new CrispError('FailedPrecondition', `${path} exists and is no socket`, {
      hint: 'move it away, or set socket',
    });
  }
  if (await answers(path)) {
    throw new CrispError('FailedPrecondition', `another daemon serves ${path}`, {
      hint: 'stop it, or give this one its own socket',
    });
  }
  await rm(path, { force: true });
}

function answers(path: string): Promise<boolean> {
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
