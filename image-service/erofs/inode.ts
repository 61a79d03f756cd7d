import { INODE_SIZE } from './format.ts';

/** Owner, permissions and time of an entry. */
export interface Attributes {
  /** Permission bits with setuid, setgid and sticky. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Nanoseconds since the epoch. */
  readonly mtime: bigint;
}

/** What an inode says besides. */
export interface InodeFields extends Attributes {
  /** The bits of the type. */
  readonly type: number;
  /** One of `layouts`. */
  readonly layout: number;
  readonly size: number;
  /** First block of data, device number, or form of the chunks. */
  readonly where: number;
  readonly ino: number;
  readonly nlink: number;
  /** Bytes of the extended attributes that follow. */
  readonly xattrBytes: number;
}

const NANO = 1_000_000_000n;
const NANO_NUMBER = 1_000_000_000;
const EXTENDED = 1;
const XATTR_HEADER = 12;
/** Offset of the number of links within an inode. */
export const NLINK_OFFSET = 44;

/** Writes an extended inode. */
export function putInode(bytes: Buffer, at: number, inode: InodeFields): void {
  const { xattrBytes, size } = inode;
  bytes.fill(0, at, at + INODE_SIZE);
  bytes.writeUInt16LE((inode.layout << 1) | EXTENDED, at);
  bytes.writeUInt16LE(xattrBytes === 0 ? 0 : (xattrBytes - XATTR_HEADER) / 4 + 1, at + 2);
  bytes.writeUInt16LE(inode.type | inode.mode, at + 4);
  bytes.writeUInt32LE(size % 2 ** 32, at + 8);
  bytes.writeUInt32LE(Math.floor(size / 2 ** 32), at + 12);
  bytes.writeUInt32LE(inode.where, at + 16);
  bytes.writeUInt32LE(inode.ino, at + 20);
  bytes.writeUInt32LE(inode.uid, at + 24);
  bytes.writeUInt32LE(inode.gid, at + 28);
  putTime(bytes, at + 32, inode.mtime);
  bytes.writeUInt32LE(inode.nlink, at + NLINK_OFFSET);
}

/** Seconds, of 64 bits, and nanoseconds; before the epoch the seconds are negative and the nanoseconds are not. */
function putTime(bytes: Buffer, at: number, mtime: bigint): void {
  let nanos = Number(mtime % NANO);
  let seconds = Number((mtime - BigInt(nanos)) / NANO);
  if (nanos < 0) {
    nanos += NANO_NUMBER;
    seconds--;
  }
  bytes.writeUInt32LE(((seconds % 2 ** 32) + 2 ** 32) % 2 ** 32, at);
  bytes.writeInt32LE(Math.floor(seconds / 2 ** 32), at + 4);
  bytes.writeUInt32LE(nanos, at + 8);
}

/** What a written inode says of its own length. */
export interface InodeShape {
  readonly layout: number;
  readonly size: number;
  readonly where: number;
  readonly xattrBytes: number;
}

export function readShape(bytes: Buffer, at = 0): InodeShape {
  const count = bytes.readUInt16LE(at + 2);
  return {
    layout: bytes.readUInt16LE(at) >> 1,
    size: bytes.readUInt32LE(at + 8) + bytes.readUInt32LE(at + 12) * 2 ** 32,
    where: bytes.readUInt32LE(at + 16),
    xattrBytes: count === 0 ? 0 : XATTR_HEADER + (count - 1) * 4,
  };
}

/** Linux's device number of 32 bits, twelve of them of the major number; undefined where it has no room. */
export const encodeDevice = (major: number, minor: number): number | undefined =>
  major > 0xfff || minor > 0xfffff
    ? undefined
    : ((minor & 0xff) | (major << 8) | ((minor & 0xfff00) << 12)) >>> 0;
