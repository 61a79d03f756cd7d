import { closeSync } from 'node:fs';
import { check, errnoName, refused } from '../libc/errno.ts';
import { connectSocket, lastErrno, O_CLOEXEC, socket } from '../libc/libc.ts';

const AF_INET = 2;
const AF_INET6 = 10;
const SOCK_STREAM = 1;
const SOCK_NONBLOCK = 0o4000;

export type Family = 4 | 6;

function localhost(family: Family, port: number): Buffer {
  const address = Buffer.alloc(family === 4 ? 16 : 28);
  address.writeUInt16LE(family === 4 ? AF_INET : AF_INET6, 0);
  address.writeUInt16BE(port, 2);
  if (family === 4) address.set([127, 0, 0, 1], 4);
  else address[8 + 15] = 1;
  return address;
}

/**
 * Begins a connection to localhost in the network namespace of the calling thread and returns its descriptor, which
 * does not block. For the namespace worker, too: a socket stays in the namespace where it was made.
 */
export function beginConnection(family: Family, port: number): number {
  const what = `connect to port ${port} of localhost, IPv${family}`;
  const domain = family === 4 ? AF_INET : AF_INET6;
  const fd = check(socket(domain, SOCK_STREAM | SOCK_NONBLOCK | O_CLOEXEC, 0), what);
  const address = localhost(family, port);
  if (connectSocket(fd, address, address.length) === 0) return fd;
  const errno = errnoName(lastErrno());
  if (errno === 'EINPROGRESS') return fd;
  closeSync(fd);
  throw refused(what, errno);
}
