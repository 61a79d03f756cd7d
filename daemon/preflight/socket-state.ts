import { lstat } from 'node:fs/promises';
import { accepts } from '../socket.ts';

/** `free`: nothing is there; `stale`: no process listens, and a start removes it. */
export type SocketState = 'free' | 'served' | 'stale' | 'not a socket';

/** What is at the path of a socket. */
export async function socketState(path: string): Promise<SocketState> {
  const found = await lstat(path).catch(() => undefined);
  if (!found) return 'free';
  if (!found.isSocket()) return 'not a socket';
  return (await accepts(path)) ? 'served' : 'stale';
}
