import { check } from '../libc/errno.ts';
import { control } from '../libc/libc.ts';
import type { Terminal } from '../ports/streams.ts';
import { DescriptorStream } from './fd-stream.ts';

/** Number of ioctl(2), the same on x86_64 and aarch64. */
const TIOCSWINSZ = 0x5414;
/** The kernel gives a terminal's bytes in pieces of at most 4 KiB. */
const CHUNK = 4096;

/** The terminal whose master is open as `fd`, which it owns from now on. */
export function terminalOf(fd: number): Terminal {
  const stream = new DescriptorStream(fd, {
    name: 'a terminal',
    reads: 'bytes',
    chunk: CHUNK,
    shutdown: false,
  });
  return { stream, resize: (columns, rows) => resize(stream, columns, rows) };
}

function resize(stream: DescriptorStream, columns: number, rows: number): void {
  if (stream.destroyed) return;
  const size = Buffer.alloc(8);
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  check(control(stream.fd, TIOCSWINSZ, size), `resize a terminal to ${columns} x ${rows}`);
}
