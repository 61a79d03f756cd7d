import { CrispError } from '#core/errors.ts';
import { shown } from '../unpack/entry.ts';
import type { DirectoryTable } from './directory-table.ts';
import { type Dirent, DirentBlocks, putDirents } from './dirents.ts';
import { BLOCK, INODE_SIZE, layouts, roundUp, SLOT, types } from './format.ts';
import type { ImageFile } from './image-file.ts';
import { putInode } from './inode.ts';
import type { Metadata } from './metadata.ts';
import { PlacePlan } from './packer.ts';
import { ROOT_OFFSET } from './superblock.ts';
import { type DirectoryId, kinds, type LayerNames, type Node, ROOT } from './tree.ts';
import { bodyOf, MOST_BODY, putXattrs, type XattrBody, type XattrTable } from './xattr-table.ts';

/** What directories are written from. */
export interface DirectorySource {
  readonly image: ImageFile;
  readonly metadata: Metadata;
  readonly names: LayerNames;
  readonly table: DirectoryTable;
  readonly xattrs: XattrTable;
  /** The nid of what is no directory. */
  readonly nidOf: (node: Node) => number;
  /** The next number of an inode. */
  readonly nextIno: () => number;
}

/** Types in entries by kind. */
const DIRENT_TYPES: readonly number[] = (() => {
  const table: number[] = [];
  for (const kind of ['file', 'directory', 'character', 'block', 'fifo', 'symlink'] as const)
    table[kinds[kind]] = types[kind].dirent;
  table[kinds.whiteout] = types.character.dirent;
  return table;
})();

/**
 * Writes all directories in one region, each before those in it: first the blocks of entries, then the inodes, with the last
 * entries behind them. Entries have the nids of directories, so that all are placed before the first is written.
 */
export class Directories {
  readonly #source: DirectorySource;
  /** Entries of all directories, sorted; columns by the position of a directory say where its own are. */
  readonly #entries: Uint32Array;
  #filled = 0;
  readonly #ids: Uint32Array;
  readonly #from: Uint32Array;
  readonly #lastBlock: Uint32Array;
  readonly #sizes: Float64Array;
  readonly #below: Uint32Array;
  readonly #inline: Uint8Array;
  #count = 0;
  #blocks = 0;
  /** By directory: the slot of its inode behind the blocks. */
  readonly #slots: Uint32Array;
  readonly #places: Uint32Array;
  #base = 0;
  readonly #dot: Node;
  readonly #dots: Node;

  constructor(source: DirectorySource) {
    this.#source = source;
    const { names } = source;
    // In a directory that is in none: they are sorted among the names of each.
    const nowhere = names.addDirectory(ROOT);
    this.#dot = names.add(nowhere, '.', kinds.directory, ROOT);
    this.#dots = names.add(nowhere, '..', kinds.directory, ROOT);
    const { directories, count } = names;
    this.#entries = new Uint32Array(count + 2 * directories);
    this.#ids = new Uint32Array(directories);
    this.#from = new Uint32Array(directories + 1);
    this.#lastBlock = new Uint32Array(directories);
    this.#sizes = new Float64Array(directories);
    this.#below = new Uint32Array(directories);
    this.#inline = new Uint8Array(directories);
    this.#slots = new Uint32Array(directories);
    this.#places = new Uint32Array(directories);
  }

  /** Puts the root's inode into the first block. Yields between two directories: there may be millions. */
  *write(first: Buffer): Generator<void, void> {
    yield* this.#place();
    const { image, metadata } = this.#source;
    let block = image.position / BLOCK;
    this.#base = block * (BLOCK / SLOT) + this.#blocks * (BLOCK / SLOT);
    const buffer = Buffer.alloc(BLOCK);
    for (let at = 0; at < this.#count; at++) {
      yield;
      this.#writeBlocks(at, buffer);
    }
    for (let at = 0; at < this.#count; at++) {
      yield;
      this.#writeInode(at, block, first);
      block += this.#blocksOf(at);
    }
    metadata.close();
    for (let at = 1; at < this.#count; at++) {
      const slot = metadata.offsetInImage(this.#places[at] as number) / SLOT;
      if (slot !== this.#nidOf(this.#ids[at] as DirectoryId))
        throw new Error('a directory is not where its nid says');
    }
  }

  #nidOf(id: DirectoryId): number {
    return id === ROOT ? ROOT_OFFSET / SLOT : this.#base + (this.#slots[id] as number);
  }

  /**
   * Those that cannot be shared follow the inode; behind the root's there is only the rest of the first block. Throws
   * ResourceExhausted where there is too little room.
   */
  #xattrsOf(id: DirectoryId): XattrBody {
    const { table, xattrs } = this.#source;
    const shared: number[] = [];
    const own: Buffer[] = [];
    for (const place of table.xattrs(id)) {
      const word = xattrs.id(place);
      if (word === undefined) own.push(xattrs.read(place));
      else shared.push(word);
    }
    const body = bodyOf(shared, own);
    const room = id === ROOT ? BLOCK - ROOT_OFFSET - INODE_SIZE : MOST_BODY;
    if (own.length > 0 && body.bytes > room) throw tooFar(this.#source.names.path(id), body.bytes, room);
    return body;
  }

  #dirents(at: number, begin: number, end: number): Dirent[] {
    const { names, nidOf } = this.#source;
    const id = this.#ids[at] as DirectoryId;
    return Array.from(this.#entries.subarray(begin, end), (node) => {
      const kind = names.kind(node);
      let nid = 0;
      if (node === this.#dot) nid = this.#nidOf(id);
      else if (node === this.#dots) nid = this.#nidOf(names.above(id));
      else nid = kind === kinds.directory ? this.#nidOf(names.value(node)) : nidOf(node);
      return { nid, type: DIRENT_TYPES[kind] ?? 0, name: names.bytes(node) };
    });
  }

  *#place(): Generator<void, void> {
    const { names } = this.#source;
    const plan = new PlacePlan();
    const todo: DirectoryId[] = [ROOT];
    for (let id = todo.pop(); id !== undefined; id = todo.pop()) {
      yield;
      const at = this.#count++;
      this.#ids[at] = id;
      this.#collect(id);
      const entries = this.#entries.subarray(this.#from[at], this.#filled);
      entries.sort((a, b) => names.compare(a, b));
      for (let n = entries.length - 1; n >= 0; n--) {
        const node = entries[n] as Node;
        if (!this.#isDirectory(node)) continue;
        todo.push(names.value(node));
        this.#below[at] = (this.#below[at] as number) + 1;
      }
      this.#from[at + 1] = this.#filled;
      const tail = this.#measure(at);
      const rest = INODE_SIZE + this.#xattrsOf(id).bytes;
      const inline = id !== ROOT && rest + tail <= BLOCK;
      this.#inline[at] = inline ? 1 : 0;
      if (id !== ROOT) this.#slots[id] = plan.take(inline ? rest + tail : rest) / SLOT;
      this.#blocks += this.#blocksOf(at);
    }
  }

  /** Adds the entries of a directory that stand for something. */
  #collect(id: DirectoryId): void {
    const { names } = this.#source;
    this.#entries[this.#filled++] = this.#dot;
    this.#entries[this.#filled++] = this.#dots;
    for (let node = names.first(id); node !== 0; node = names.next(node))
      if (names.kind(node) !== kinds.pending) this.#entries[this.#filled++] = node;
  }

  /** Divides the entries among blocks; returns the bytes of the last one. */
  #measure(at: number): number {
    const blocks = new DirentBlocks();
    let last = this.#from[at] as number;
    for (let n = last; n < (this.#from[at + 1] as number); n++)
      if (blocks.add(this.#source.names.nameLength(this.#entries[n] as Node))) last = n;
    this.#lastBlock[at] = last;
    this.#sizes[at] = blocks.size;
    return blocks.tail;
  }

  #isDirectory(node: Node): boolean {
    return node !== this.#dot && node !== this.#dots && this.#source.names.kind(node) === kinds.directory;
  }

  #blocksOf(at: number): number {
    const size = this.#sizes[at] as number;
    return this.#inline[at] ? Math.floor(size / BLOCK) : roundUp(size, BLOCK) / BLOCK;
  }

  /** All blocks of entries but one that follows the inode. */
  #writeBlocks(at: number, buffer: Buffer): void {
    const last = this.#lastBlock[at] as number;
    const blocks = new DirentBlocks();
    let begin = this.#from[at] as number;
    const append = (end: number) => {
      const length = putDirents(buffer, 0, this.#dirents(at, begin, end));
      this.#source.image.append(buffer.fill(0, length));
      begin = end;
    };
    for (let n = begin; n <= last; n++)
      if (blocks.add(this.#source.names.nameLength(this.#entries[n] as Node))) append(n);
    if (!this.#inline[at]) append(this.#from[at + 1] as number);
  }

  #writeInode(at: number, block: number, first: Buffer): void {
    const { metadata, table } = this.#source;
    const id = this.#ids[at] as DirectoryId;
    const xattrs = this.#xattrsOf(id);
    const inline = this.#inline[at] === 1;
    const size = this.#sizes[at] as number;
    const inode = {
      ...table.get(id),
      type: types.directory.mode,
      layout: inline ? layouts.inline : layouts.plain,
      size,
      where: block,
      ino: this.#source.nextIno(),
      nlink: 2 + (this.#below[at] as number),
      xattrBytes: xattrs.bytes,
    };
    const rest = INODE_SIZE + xattrs.bytes;
    if (id === ROOT || rest > BLOCK) {
      const bytes = id === ROOT ? first : Buffer.alloc(rest);
      const offset = id === ROOT ? ROOT_OFFSET : 0;
      putInode(bytes, offset, inode);
      putXattrs(bytes, offset + INODE_SIZE, xattrs);
      if (id !== ROOT) this.#places[at] = metadata.large([bytes]);
      return;
    }
    const place = metadata.reserve(inline ? rest + (size % BLOCK || BLOCK) : rest);
    this.#places[at] = place;
    const offset = metadata.offsetOf(place);
    putInode(metadata.bytes, offset, inode);
    putXattrs(metadata.bytes, offset + INODE_SIZE, xattrs);
    if (!inline) return;
    const dirents = this.#dirents(at, this.#lastBlock[at] as number, this.#from[at + 1] as number);
    putDirents(metadata.bytes, offset + rest, dirents);
  }
}

/** The format refers to attributes that are elsewhere in an image only in its first 16 GiB. */
const tooFar = (path: string, bytes: number, room: number): CrispError =>
  new CrispError(
    'ResourceExhausted',
    `layer archive: extended attributes of ${path === '' ? 'its root directory' : shown(path)}, ${bytes} bytes, come after 16 GiB, ` +
      `where there is room for ${room}`,
    { hint: 'build the image so that the entries of its directories come before those of large files' },
  );
