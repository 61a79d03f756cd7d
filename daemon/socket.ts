import { lstat, rm } from 'node:fs/promises';
import { connect } from 'node:net';
import { CrispError, errnoOf } from '#core/errors.ts';

/** `free`: nothing is there; `stale`: no process listens, and a start removes it. */
export type SocketState = 'free' | 'served' | 'stale' | 'not a socket';

/** What is at the path of a socket. Throws other errnos of connect(2) than those of a socket that nobody serves. */
export async function socketState(path: string): Promise<SocketState> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return 'free';
  if (!found.isSocket()) return 'not a socket';
  return (await accepts(path)) ? 'served' : 'stale';
}

/**
 * Frees the path of the socket, which the option names: one that refuses connections is left from a daemon that was killed, and is removed.
 * Throws FailedPrecondition where a daemon accepts connections, or where the path is not a socket.
 */
export async function clearSocket(path: string, option: string): Promise<void> {
  const state = await socketState(path);
  if (state === 'free') return;
  if (state === 'not a socket') {
    throw new CrispError('FailedPrecondition', `${path} exists and is not a socket`, {
      hint: `move it away, or set ${option}`,
    });
  }
  if (state === 'served') {
    throw new CrispError('FailedPrecondition', `another daemon serves ${path}`, {
      hint: `stop it, or set ${option} to another path`,
    });
  }
  await rm(path, { force: true });
}

/** Whether a process accepts connections there. Throws other errnos than those of a socket that nobody serves. */
function accepts(path: string): Promise<boolean> {
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
