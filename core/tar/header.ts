import { damaged, type EntryType } from './entry.ts';

export const BLOCK = 512;
/** The letters of `ustar`. */
const [USTA, R] = [0x75737461, 0x72];

/** A header block as it is in the archive (POSIX ustar; GNU's base-256 numbers). */
export interface Header {
  /** The type's character; `\0` reads as `0`. */
  readonly flag: string;
  readonly name: string;
  readonly link: string;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly size: number;
  /** Bytes of the whole file, of a sparse one in GNU's old form. */
  readonly realSize: number | undefined;
  /** Whole seconds. */
  readonly mtime: number;
  readonly major: number;
  readonly minor: number;
}

export const entryTypes: Readonly<Record<string, EntryType>> = {
  '0': 'file',
  '7': 'file', // contiguous: an ordinary file everywhere
  S: 'file', // sparse, in GNU's old form
  '1': 'hardlink',
  '2': 'symlink',
  '3': 'character',
  '4': 'block',
  '5': 'directory',
  '6': 'fifo',
};

/** Whether the block is all zeros: two of them end an archive. */
export const isZero = (block: Buffer): boolean => block.every((byte) => byte === 0);

/** Reads a header block after checking its sum. Throws DataLoss. */
export function readHeader(block: Buffer): Header {
  verifySum(block);
  // `ustar`, and the NUL that POSIX wants behind it.
  const posix = block.readUInt32BE(257) === USTA && block[261] === R && block[262] === 0;
  const prefix = posix ? text(block, 345, 155) : '';
  const name = text(block, 0, 100);
  const flag = String.fromCharCode(block[156] || 0x30);
  return {
    flag,
    name: prefix === '' ? name : `${prefix}/${name}`,
    link: text(block, 157, 100),
    mode: number(block, 100, 8, 'mode') & 0o7777,
    uid: number(block, 108, 8, 'uid'),
    gid: number(block, 116, 8, 'gid'),
    size: number(block, 124, 12, 'size'),
    realSize: flag === 'S' ? number(block, 483, 12, 'real size') : undefined,
    mtime: number(block, 136, 12, 'mtime'),
    major: flag === '3' || flag === '4' ? number(block, 329, 8, 'major') : 0,
    minor: flag === '3' || flag === '4' ? number(block, 337, 8, 'minor') : 0,
  };
}

function verifySum(block: Buffer): void {
  let sum = 0;
  let high = 0; // bytes above 127
  for (let at = 0; at < BLOCK; at++) {
    const byte = block[at] as number;
    sum += byte;
    high += byte >> 7;
  }
  // The sum's own field counts as spaces.
  for (let at = 148; at < 156; at++) {
    const byte = block[at] as number;
    sum += 0x20 - byte;
    high -= byte >> 7;
  }
  const stored = number(block, 148, 8, 'checksum');
  // Some old writers have summed signed bytes.
  if (stored !== sum && stored !== sum - 256 * high) throw damaged('the checksum of a header does not match');
}

function text(block: Buffer, at: number, length: number): string {
  if (block[at] === 0) return '';
  const end = block.indexOf(0, at);
  return block.toString('latin1', at, end < 0 || end > at + length ? at + length : end);
}

/** Reads a field: octal digits, or GNU's base 256. Throws DataLoss. */
export function number(block: Buffer, at: number, length: number, field: string): number {
  const first = block[at] ?? 0;
  let value = 0;
  if (first & 0x80) {
    // Base 256, two's complement; crisp needs no more than 53 bits of it.
    value = first & 0x40 ? (first & 0x7f) - 0x80 : first & 0x7f;
    for (let n = 1; n < length; n++) value = value * 256 + (block[at + n] ?? 0);
  } else {
    const usual = octal(block, at, at + length);
    if (usual !== undefined) return usual;
    const digits = text(block, at, length).trim();
    if (digits === '') return 0;
    if (!/^[0-7]+$/.test(digits)) throw damaged(`the ${field} of a header is not a number`);
    value = Number.parseInt(digits, 8);
  }
  if (!Number.isSafeInteger(value) || (value < 0 && field !== 'mtime')) {
    throw damaged(`the ${field} of a header is out of range`);
  }
  return value;
}

/** What nearly all fields are: digits up to a NUL, a space or the end, without an object for each; undefined for any other form. */
function octal(block: Buffer, from: number, end: number): number | undefined {
  let value = 0;
  let at = from;
  for (; at < end; at++) {
    const digit = (block[at] as number) - 0x30;
    if (digit < 0 || digit > 7) break;
    value = value * 8 + digit;
  }
  const isEnd =
    at === end || block[at] === 0 || (block[at] === 0x20 && (at + 1 === end || block[at + 1] === 0));
  return at > from && isEnd ? value : undefined;
}
