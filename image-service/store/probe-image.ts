/** An EROFS image of one block with one small file, for the probe (Linux, Documentation/filesystems/erofs.rst). */

const BLOCK_BITS = 12;
const SUPERBLOCK = 1024;
const MAGIC = 0xe0f5e1e2;
/** An inode's number is its place in units of 32 bytes. */
const UNIT = 32;
const ROOT = 1152;
const FILE = 1344;
const INODE_BYTES = 64;
const DIRENT_BYTES = 12;
/** The extended form, its data behind it. */
const EXTENDED_INLINE = 1 | (2 << 1);
const FILE_TYPE = { regular: 1, directory: 2 };

/** The image with the file `name` of this content, both short. */
export function probeImage(name: string, content: string): Buffer {
  const image = Buffer.alloc(1 << BLOCK_BITS);
  image.writeUInt32LE(MAGIC, SUPERBLOCK);
  image.writeUInt8(BLOCK_BITS, SUPERBLOCK + 12);
  image.writeUInt16LE(ROOT / UNIT, SUPERBLOCK + 14);
  image.writeBigUInt64LE(2n, SUPERBLOCK + 16); // inodes
  image.writeUInt32LE(1, SUPERBLOCK + 36); // blocks
  const entries = directory([
    ['.', ROOT, FILE_TYPE.directory],
    ['..', ROOT, FILE_TYPE.directory],
    [name, FILE, FILE_TYPE.regular],
  ]);
  inode(image, ROOT, 0o040755, 2, entries);
  inode(image, FILE, 0o100644, 1, Buffer.from(content));
  return image;
}

function inode(image: Buffer, at: number, mode: number, links: number, data: Buffer): void {
  image.writeUInt16LE(EXTENDED_INLINE, at);
  image.writeUInt16LE(mode, at + 4);
  image.writeBigUInt64LE(BigInt(data.length), at + 8);
  image.writeUInt32LE(at / UNIT, at + 20);
  image.writeUInt32LE(links, at + 44);
  data.copy(image, at + INODE_BYTES);
}

/** Entries in the order of their names' bytes: first all heads, then all names. */
function directory(entries: readonly (readonly [name: string, inode: number, type: number])[]): Buffer {
  const heads = Buffer.alloc(DIRENT_BYTES * entries.length);
  const names: Buffer[] = [];
  let place = heads.length;
  for (const [index, [name, target, type]] of entries.entries()) {
    heads.writeBigUInt64LE(BigInt(target / UNIT), index * DIRENT_BYTES);
    heads.writeUInt16LE(place, index * DIRENT_BYTES + 8);
    heads.writeUInt8(type, index * DIRENT_BYTES + 10);
    const bytes = Buffer.from(name);
    names.push(bytes);
    place += bytes.length;
  }
  return Buffer.concat([heads, ...names]);
}
