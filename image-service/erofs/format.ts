/** Facts of the EROFS format (Linux, Documentation/filesystems/erofs.rst, and the layout in fs/erofs/erofs_fs.h). */

/** Bytes of a block. Data starts at a block; metadata may be anywhere. */
export const BLOCK = 4096;
/** Inodes are at multiples of this; a nid is an offset in these units. */
export const SLOT = 32;
/** Bytes of an extended inode: ids of 32 bits, nanoseconds, an own modification time. */
export const INODE_SIZE = 64;

/** How the content of an inode is stored. */
export const layouts = {
  /** In whole blocks that follow one another. */
  plain: 0,
  /** The same for all but the last part, which follows the inode within one block. */
  inline: 2,
  /** In chunks of one size, by a map that follows the inode; a chunk may be missing: zeros. */
  chunks: 4,
} as const;

/** Types of entries in directories, and the bits of `i_mode` that they have. */
export const types = {
  file: { dirent: 1, mode: 0o100000 },
  directory: { dirent: 2, mode: 0o040000 },
  character: { dirent: 3, mode: 0o020000 },
  block: { dirent: 4, mode: 0o060000 },
  fifo: { dirent: 5, mode: 0o010000 },
  socket: { dirent: 6, mode: 0o140000 },
  symlink: { dirent: 7, mode: 0o120000 },
} as const;

/** The block address of a chunk that is missing. */
export const NO_BLOCK = 0xffff_ffff;
/** Block addresses have 32 bits on every kernel. */
export const MOST_BLOCKS = 0xffff_fff0;

/** The next multiple of the unit. */
export const roundUp = (value: number, unit: number): number => Math.ceil(value / unit) * unit;
