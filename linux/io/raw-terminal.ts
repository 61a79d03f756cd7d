/** Raw mode of a terminal of this process, for sessions whose other end has a terminal of its own. */
import { check } from '../libc/errno.ts';
import { control } from '../libc/libc.ts';

/** Numbers of ioctl(2) and flags of the kernel's termios, the same on x86_64 and aarch64. */
const TCGETS = 0x5401;
const TCSETSW = 0x5403;
const TERMIOS_BYTES = 36;
const [IFLAG, OFLAG, CFLAG, LFLAG, CC] = [0, 4, 8, 12, 17] as const;
/** IGNBRK, BRKINT, PARMRK, ISTRIP, INLCR, IGNCR, ICRNL, IXON. */
const INPUT = 0o2753;
const OPOST = 0o1;
/** ISIG, ICANON, ECHO, ECHONL, IEXTEN. */
const LOCAL = 0o100113;
const PARENB = 0o400;
const CS8 = 0o60;
const [VTIME, VMIN] = [5, 6] as const;

/**
 * Input and output are neither echoed, turned into signals nor translated, until it is disposed of.
 * (Node's own raw mode goes on turning line feeds into two characters.) Throws KernelRefused where fd is not a terminal.
 */
export function rawTerminal(fd: number): Disposable {
  const before = Buffer.alloc(TERMIOS_BYTES + 8);
  check(control(fd, TCGETS, before), `read the mode of terminal ${fd}`);
  const raw = Buffer.from(before);
  const clear = (at: number, bits: number): unknown =>
    raw.writeUInt32LE((raw.readUInt32LE(at) & ~bits) >>> 0, at);
  clear(IFLAG, INPUT);
  clear(OFLAG, OPOST);
  clear(CFLAG, PARENB);
  clear(LFLAG, LOCAL);
  raw.writeUInt32LE((raw.readUInt32LE(CFLAG) | CS8) >>> 0, CFLAG);
  raw[CC + VMIN] = 1;
  raw[CC + VTIME] = 0;
  const set = (mode: Buffer): number => check(control(fd, TCSETSW, mode), `set the mode of terminal ${fd}`);
  set(raw);
  return { [Symbol.dispose]: () => void set(before) };
}
