import { closeSync, constants, openSync } from 'node:fs';
import { DescriptorStream } from './descriptor-stream.ts';
import { check, namingSync } from './errno.ts';
import { control } from './libc.ts';
import type { Terminal } from './streams.ts';

/** Numbers of ioctl(2), the same on x86_64 and aarch64. */
const TIOCSPTLCK = 0x40045431;
const TIOCGPTN = 0x80045430;
const TIOCSWINSZ = 0x5414;
const TCSETS = 0x5402;
/** struct termios of the kernel: four words of flags, the line, 19 control characters. */
const TERMIOS_BYTES = 36;
const CONTROL_FLAGS = 8;
const VMIN = 4 * 4 + 1 + 6;
/** B38400, CS8, CREAD: what a new terminal has. */
const DEFAULT_CONTROL = 0o17 | 0o60 | 0o200;
/** The kernel gives a terminal's bytes in pieces of at most 4 KiB. */
const CHUNK = 4096;

/** A new pseudo terminal, raw: no echo, no signals and no line endings of its own, also before a program asks so. */
export function openTerminal(): Terminal {
  const flags = constants.O_RDWR | constants.O_NOCTTY | constants.O_NONBLOCK;
  const fd = namingSync('open /dev/ptmx', () => openSync('/dev/ptmx', flags));
  try {
    const number = Buffer.alloc(4);
    check(control(fd, TIOCSPTLCK, number), 'unlock a terminal');
    check(control(fd, TIOCGPTN, number), 'number a terminal');
    const termios = Buffer.alloc(TERMIOS_BYTES);
    termios.writeUInt32LE(DEFAULT_CONTROL, CONTROL_FLAGS);
    termios[VMIN] = 1;
    check(control(fd, TCSETS, termios), 'make a terminal raw');
    const path = `/dev/pts/${number.readUInt32LE()}`;
    const stream = new DescriptorStream(fd, {
      name: `the terminal ${path}`,
      reads: 'bytes',
      chunk: CHUNK,
      shutdown: false,
    });
    return { stream, path, resize: (columns, rows) => resize(stream, columns, rows) };
  } catch (error) {
    closeSync(fd);
    throw error;
  }
}

function resize(stream: DescriptorStream, columns: number, rows: number): void {
  if (stream.destroyed) return;
  const size = Buffer.alloc(8);
  size.writeUInt16LE(rows, 0);
  size.writeUInt16LE(columns, 2);
  check(control(stream.fd, TIOCSWINSZ, size), `resize a terminal to ${columns} x ${rows}`);
}
