/** Connections that node:net cannot make: by packets, and from within a pod's network. */
import { closeSync, constants, openSync } from 'node:fs';
import { type OnReadOpts, Socket } from 'node:net';
import { dirname } from 'node:path';
import type { Duplex } from 'node:stream';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { abandoned } from '../libc/abort.ts';
import { check, namingSync, refused } from '../libc/errno.ts';
import {
  connectSocket,
  lastErrno,
  O_CLOEXEC,
  O_PATH,
  socket,
  socketOption,
  watchDescriptor,
} from '../libc/libc.ts';
import type { Family } from './begin-connection.ts';
import { DescriptorStream } from './fd-stream.ts';

const AF_UNIX = 1;
const SOCK_SEQPACKET = 5;
const SOCK_NONBLOCK = 0o4000;
const SOL_SOCKET = 1;
const SO_ERROR = 4;
/** conmon reads packets of up to 8 KiB and sends that much behind one byte that names the stream. */
const PACKET = 8192;

/** See `Streams.connectPackets`. The path may be longer than an address holds: it is named through its directory. */
export function connectPackets(path: string): Duplex {
  const what = `connect to ${path}`;
  const directory = namingSync(what, () => openSync(dirname(path), O_PATH | constants.O_DIRECTORY));
  try {
    const fd = check(socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | O_CLOEXEC, 0), what);
    const name = Buffer.from(`/proc/self/fd/${directory}/${path.slice(path.lastIndexOf('/') + 1)}\0`);
    const address = Buffer.concat([Buffer.from(Uint16Array.of(AF_UNIX).buffer), name]);
    if (connectSocket(fd, address, address.length) < 0) {
      const error = refused(what, lastErrno());
      closeSync(fd);
      throw error;
    }
    return new DescriptorStream(fd, { name: path, reads: 'packets', chunk: PACKET, shutdown: true });
  } finally {
    closeSync(directory);
  }
}

/** IPv4, then IPv6; `begin` makes the socket in the network namespace. */
export async function connectPort(
  begin: (family: Family) => Promise<number>,
  port: number,
  signal: AbortSignal,
  onread?: OnReadOpts,
): Promise<Socket> {
  const refusals: string[] = [];
  for (const family of [4, 6] as const) {
    try {
      const fd = await begin(family);
      return await established(fd, `connect to port ${port}`, signal, onread);
    } catch (error) {
      if (signal.aborted || errnoOf(error) === undefined) throw error;
      refusals.push(describeError(error));
    }
  }
  throw new CrispError('Unavailable', `connection to port ${port} refused: ${refusals.join('; ')}`, {
    hint: 'check that the program listens on this port of localhost, inside the pod',
  });
}

/** Waits until the connection is established, then owns the descriptor as a socket. */
async function established(
  fd: number,
  what: string,
  signal: AbortSignal,
  onread?: OnReadOpts,
): Promise<Socket> {
  try {
    await writable(fd, what, signal);
    const value = new Int32Array(1);
    check(socketOption(fd, SOL_SOCKET, SO_ERROR, value, Int32Array.of(4)), what);
    if (value[0]) throw refused(what, value[0]);
    return new Socket({ fd, allowHalfOpen: true, ...(onread ? { onread } : {}) }).on('error', () => {});
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function writable(fd: number, what: string, signal: AbortSignal): Promise<void> {
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  if (signal.aborted) return Promise.reject(abandoned(what, signal));
  const onAbort = () => reject(abandoned(what, signal));
  const watch = watchDescriptor(fd, resolve);
  watch.start({ readable: false, writable: true });
  signal.addEventListener('abort', onAbort, { once: true });
  return promise.finally(() => {
    signal.removeEventListener('abort', onAbort);
    watch.close();
  });
}
