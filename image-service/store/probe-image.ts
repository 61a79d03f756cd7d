import { putDirents } from '../erofs/dirents.ts';
import { BLOCK, INODE_SIZE, layouts, SLOT, types } from '../erofs/format.ts';
import { putInode } from '../erofs/inode.ts';

const SUPERBLOCK = 1024;
const MAGIC = 0xe0f5e1e2;
const BLOCK_BITS = 12;
const ROOT = 1152;
const FILE = 1344;

/** An EROFS image of one block with the file `name` of this content, both short: what the probe needs, and no more features. */
export function probeImage(name: string, content: string): Buffer {
  const image = Buffer.alloc(BLOCK);
  image.writeUInt32LE(MAGIC, SUPERBLOCK);
  image.writeUInt8(BLOCK_BITS, SUPERBLOCK + 12);
  image.writeUInt16LE(ROOT / SLOT, SUPERBLOCK + 14);
  image.writeBigUInt64LE(2n, SUPERBLOCK + 16); // inodes
  image.writeUInt32LE(1, SUPERBLOCK + 36); // blocks
  const [root, file] = [ROOT / SLOT, FILE / SLOT];
  const size = putDirents(image, ROOT + INODE_SIZE, [
    { name: Buffer.from('.'), nid: root, type: types.directory.dirent },
    { name: Buffer.from('..'), nid: root, type: types.directory.dirent },
    { name: Buffer.from(name), nid: file, type: types.file.dirent },
  ]);
  const owner = { uid: 0, gid: 0, mtime: 0n, layout: layouts.inline, where: 0, xattrBytes: 0 };
  const directory = { mode: 0o755, type: types.directory.mode, ino: root, nlink: 2 };
  putInode(image, ROOT, { ...owner, ...directory, size });
  const length = image.write(content, FILE + INODE_SIZE);
  putInode(image, FILE, { ...owner, mode: 0o644, type: types.file.mode, ino: file, nlink: 1, size: length });
  return image;
}
