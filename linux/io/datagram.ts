/** Datagrams to unix sockets, which Node cannot send. */
import { closeSync } from 'node:fs';
import { check } from '../libc/errno.ts';
import { sendTo, socket } from '../libc/libc.ts';

const AF_UNIX = 1;
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000;
const MSG_DONTWAIT = 0x40;
const MSG_NOSIGNAL = 0x4000;

/**
 * Sends one datagram, without waiting. `address` is a path, or `@name` for a socket without one (unix(7)). Throws NotFound
 * where nothing has that path, KernelRefused with EAGAIN where the receiver's queue is full.
 */
export function sendDatagram(address: string, bytes: Uint8Array): void {
  const what = `send to ${address}`;
  const name = Buffer.from(address.startsWith('@') ? `\0${address.slice(1)}` : `${address}\0`);
  const to = Buffer.concat([Buffer.of(AF_UNIX, 0), name]); // sockaddr_un: the family in the machine's order
  const fd = check(socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0), 'open a unix socket');
  try {
    check(sendTo(fd, bytes, bytes.length, MSG_DONTWAIT | MSG_NOSIGNAL, to, to.length), what);
  } finally {
    closeSync(fd);
  }
}
