import { HoleBudget } from './chunked-content.ts';
import { Directories } from './directories.ts';
import { DirectoryTable } from './directory-table.ts';
import { type Content, EMPTY, FileContent } from './file-content.ts';
import { BLOCK, INODE_SIZE, SLOT, types } from './format.ts';
import { ImageFile } from './image-file.ts';
import { type Attributes, putInode } from './inode.ts';
import { Links } from './links.ts';
import { Metadata, type Place } from './metadata.ts';
import { putSuperblock, ROOT_OFFSET, uuidOf } from './superblock.ts';
import { SymlinkTargets } from './symlink-targets.ts';
import { type DirectoryId, kinds, LayerNames, type Node, ROOT } from './tree.ts';
import { putXattrs, type XattrBody, XattrTable } from './xattr-table.ts';

/** What is no directory and has an inode. */
export type InodeKind = 'file' | 'symlink' | 'character' | 'block' | 'fifo';

/** A file between its beginning and its end. */
export interface OpenFile {
  readonly content: FileContent;
  readonly xattrs: XattrBody;
}

/**
 * An image that grows: names in memory, content and inodes in its file. It knows nothing of archives: what replaces what, and what
 * a name leads to, is decided by its users.
 */
export class ImageBuilder implements Disposable {
  readonly image: ImageFile;
  readonly names = new LayerNames();
  readonly directories: DirectoryTable;
  readonly #metadata: Metadata;
  readonly #xattrs: XattrTable;
  readonly #links: Links;
  readonly #holes = new HoleBudget();
  readonly #tail = Buffer.alloc(BLOCK);
  readonly #targets: SymlinkTargets;
  #ino = 1;
  #chunked = false;
  /** Inodes beside directories that a name leads to. */
  #inodes = 0;
  #removed = 0;

  constructor(path: string) {
    this.image = new ImageFile(path);
    this.#metadata = new Metadata(this.image);
    this.#xattrs = new XattrTable(this.image, this.#metadata);
    this.#links = new Links(this.image, this.#metadata);
    this.#targets = new SymlinkTargets(this.image, this.#metadata);
    this.directories = new DirectoryTable(this.#xattrs);
    this.directories.set(ROOT, { mode: 0o755, uid: 0, gid: 0, mtime: 0n });
  }

  [Symbol.dispose](): void {
    this.image[Symbol.dispose]();
  }

  /** Inodes of the layer as it is now, directories among them. */
  get inodes(): number {
    return this.#inodes + this.names.directories - this.#removed;
  }

  /** Begins a file of this size. Nothing else may be made before its end. */
  openFile(size: number, xattrs: Iterable<Buffer>): OpenFile {
    const body = this.#xattrs.body(xattrs);
    return { content: new FileContent(this.image, size, undefined, this.#holes), xattrs: body };
  }

  /** Ends a file and writes its inode. */
  closeFile({ content, xattrs }: OpenFile, attributes: Attributes): Place {
    const end = content.end(BLOCK - INODE_SIZE - xattrs.bytes);
    if (end.chunks) this.#chunked = true;
    return this.#inode('file', attributes, end, xattrs);
  }

  symlink(target: string, attributes: Attributes, xattrs: Iterable<Buffer>): Place {
    const bytes = Buffer.from(target, 'latin1');
    const body = this.#xattrs.body(xattrs);
    const content = new FileContent(this.image, bytes.length, this.#tail, this.#holes);
    content.write(bytes);
    return this.#inode('symlink', attributes, content.end(BLOCK - INODE_SIZE - body.bytes), body);
  }

  /** A device or FIFO. `device`: twelve bits of the major number, twenty of the minor one. */
  special(kind: InodeKind, device: number, attributes: Attributes, xattrs: Iterable<Buffer> = []): Place {
    return this.#inode(kind, attributes, { ...EMPTY, where: device }, this.#xattrs.body(xattrs));
  }

  /** Gives a name to an inode that has none. */
  put(directory: DirectoryId, name: string, kind: number, place: Place): void {
    this.#inodes++;
    this.#set(directory, name, kind, place);
  }

  /** Gives a further name to the inode of a node. */
  link(directory: DirectoryId, name: string, to: Node): void {
    const place = this.names.value(to);
    this.#links.add(place);
    this.#set(directory, name, this.names.kind(to), place);
  }

  /** Leaves a name for a hard link that is made later. */
  pend(directory: DirectoryId, name: string, order: number): void {
    this.#set(directory, name, kinds.pending, order);
  }

  makeDirectory(above: DirectoryId, name: string, attributes: Attributes): DirectoryId {
    const directory = this.names.addDirectory(above);
    this.directories.set(directory, attributes);
    this.#set(above, name, kinds.directory, directory);
    return directory;
  }

  /** To be called for a node before its name stands for something else. `pending` is told of links that are given up. */
  release(node: Node, pending: (order: number) => void): void {
    const todo: Node[] = [node];
    for (let next = todo.pop(); next !== undefined; next = todo.pop()) {
      const [kind, value] = [this.names.kind(next), this.names.value(next)];
      if (kind === kinds.pending) pending(value);
      else if (kind !== kinds.directory) {
        if (this.#links.drop(value)) this.#inodes--;
      } else {
        this.directories.kill(value);
        this.#removed++;
        for (let child = this.names.first(value); child !== 0; child = this.names.next(child))
          todo.push(child);
      }
    }
  }

  /** The target of a symlink. */
  target(node: Node): string {
    return this.#targets.of(this.names.value(node));
  }

  /** Writes directories and superblock. Yields now and then. Nothing can be added afterwards. */
  async *finish(): AsyncGenerator<void, { digest: Buffer; bytes: number; inodes: number }> {
    const { inodes } = this;
    this.#links.write();
    this.#metadata.close();
    const first = Buffer.alloc(BLOCK);
    const directories = new Directories({
      image: this.image,
      metadata: this.#metadata,
      names: this.names,
      table: this.directories,
      xattrs: this.#xattrs,
      nidOf: (node) => this.#metadata.offsetInImage(this.#links.final(this.names.value(node))) / SLOT,
      nextIno: () => this.#ino++,
    });
    for (const _ of directories.write(first)) yield;
    putSuperblock(first, {
      rootNid: ROOT_OFFSET / SLOT,
      inodes,
      blocks: this.image.position / BLOCK,
      uuid: uuidOf(await this.image.digestSoFar()),
      chunked: this.#chunked,
    });
    return { ...(await this.image.finish(first)), inodes };
  }

  #set(directory: DirectoryId, name: string, kind: number, value: number): void {
    const node = this.names.find(directory, name);
    if (node !== 0) this.names.set(node, kind, value);
    else this.names.set(this.names.add(directory, name, kind, value), kind, value);
  }

  #inode(kind: InodeKind, attributes: Attributes, content: Content, xattrs: XattrBody): Place {
    const { layout, size, where, tail, chunks } = content;
    const inode = {
      ...{ mode: attributes.mode, uid: attributes.uid, gid: attributes.gid, mtime: attributes.mtime },
      ...{
        type: types[kind].mode,
        layout,
        size,
        where,
        ino: this.#ino++,
        nlink: 1,
        xattrBytes: xattrs.bytes,
      },
    };
    const head = INODE_SIZE + xattrs.bytes;
    const length = head + tail.length + (chunks?.mapBytes ?? 0);
    if (length > BLOCK) {
      const bytes = Buffer.alloc(head);
      putInode(bytes, 0, inode);
      putXattrs(bytes, INODE_SIZE, xattrs);
      return this.#metadata.large(chunks ? concat(bytes, chunks.map()) : [bytes]);
    }
    const place = this.#metadata.reserve(length);
    const { bytes } = this.#metadata;
    const at = this.#metadata.offsetOf(place);
    putInode(bytes, at, inode);
    putXattrs(bytes, at + INODE_SIZE, xattrs);
    if (tail.length > 0) bytes.set(tail, at + head);
    let next = at + head;
    for (const piece of chunks?.map() ?? []) {
      bytes.set(piece, next);
      next += piece.length;
    }
    return place;
  }
}

function* concat(head: Buffer, rest: Iterable<Buffer>): Generator<Buffer> {
  yield head;
  yield* rest;
}
