import type { Socket } from 'node:net';
import { socketOption } from '../libc/libc.ts';

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;

/**
 * The process that has opened the other end of a unix socket (unix(7), SO_PEERCRED); undefined where that cannot be had, and where it
 * is in a pid namespace that is not below this one.
 */
export function peerOf(socket: Socket): number | undefined {
  const { fd = -1 } = (socket as { readonly _handle?: { readonly fd?: number } | null })._handle ?? {};
  const credentials = new Int32Array(3);
  const failed = socketOption(fd, SOL_SOCKET, SO_PEERCRED, credentials, Int32Array.of(12)) < 0;
  return failed ? undefined : credentials[0] || undefined;
}
