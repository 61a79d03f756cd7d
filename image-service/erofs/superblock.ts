import { BLOCK } from './format.ts';

const MAGIC = 0xe0f5e1e2;
const OFFSET = 1024;
const BLOCK_BITS = 12;
/** Compatible features: the checksum, and that times are modification times. */
const CHECKSUM = 0x1;
const MTIME = 0x2;
/** Files in chunks, which older kernels do not read. */
const CHUNKED_FILE = 0x4;

/** Where the root's inode is: right behind the superblock, since the superblock has sixteen bits for its nid. */
export const ROOT_OFFSET = OFFSET + 128;

export interface Superblock {
  readonly rootNid: number;
  /** Number of inodes. */
  readonly inodes: number;
  /** Blocks of the image. */
  readonly blocks: number;
  /** Sixteen bytes. */
  readonly uuid: Uint8Array;
  /** Whether a file is in chunks. */
  readonly chunked: boolean;
}

/** Writes the superblock into the first block, whose remaining bytes count in the checksum. */
export function putSuperblock(block: Buffer, superblock: Superblock): void {
  const at = OFFSET;
  block.writeUInt32LE(MAGIC, at);
  block.writeUInt32LE(0, at + 4);
  block.writeUInt32LE(CHECKSUM | MTIME, at + 8);
  block.writeUInt8(BLOCK_BITS, at + 12);
  block.writeUInt16LE(superblock.rootNid, at + 14);
  block.writeBigUInt64LE(BigInt(superblock.inodes), at + 16);
  // Time of the build, start of metadata and of shared attributes: all 0.
  block.writeUInt32LE(superblock.blocks, at + 36);
  block.set(superblock.uuid, at + 48);
  block.writeUInt32LE(superblock.chunked ? CHUNKED_FILE : 0, at + 80);
  block.writeUInt32LE(crc32c(block.subarray(OFFSET, BLOCK)), at + 4);
}

/** CRC-32C as the superblock has it: all ones at the start, and not inverted at the end. */
export function crc32c(bytes: Uint8Array): number {
  let crc = 0xffff_ffff;
  for (const byte of bytes) {
    crc ^= byte;
    for (let bit = 0; bit < 8; bit++) crc = crc & 1 ? (crc >>> 1) ^ 0x82f63b78 : crc >>> 1;
  }
  return crc >>> 0;
}

/** A UUID of version 8 from the content, since the same layer always gives the same bytes. */
export function uuidOf(digest: Buffer): Buffer {
  const uuid = Buffer.from(digest.subarray(0, 16));
  uuid.writeUInt8(((uuid[6] as number) & 0x0f) | 0x80, 6);
  uuid.writeUInt8(((uuid[8] as number) & 0x3f) | 0x80, 8);
  return uuid;
}
