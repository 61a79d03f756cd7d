import { closeSync, constants, lstatSync, openSync } from 'node:fs';
import { flags, must, readFully, seekFile } from '#linux/fs/at-syscalls.ts';
import { namingSync } from '#linux/libc/errno.ts';
import { hostile, shown } from '../unpack/entry.ts';
import type { EventLoopYield } from '../unpack/event-loop-yield.ts';
import { type FoundInLayer, type LayerOfLinks, split } from '../unpack/link-maker.ts';
import type { LowerEntry } from '../unpack/lower-view.ts';
import type { ImageBuilder, InodeKind } from './builder.ts';
import { encodeDevice } from './inode.ts';
import { lowerAttributes, lowerXattrs } from './lower-entry.ts';
import { type LayerPaths, pathOf } from './paths.ts';
import { type DirectoryId, kinds } from './tree.ts';

const PIECE = 1 << 20;
const ZEROS = Buffer.alloc(PIECE);
const ENXIO = -6;

/** The image of a layer, for hard links to what the layers below have. */
export class ImageLinks implements LayerOfLinks {
  readonly #builder: ImageBuilder;
  readonly #paths: LayerPaths;
  readonly #loop: EventLoopYield;

  constructor(builder: ImageBuilder, paths: LayerPaths, loop: EventLoopYield) {
    this.#builder = builder;
    this.#paths = paths;
    this.#loop = loop;
  }

  find(path: string): FoundInLayer | undefined {
    const { names, directories } = this.#builder;
    const { parts, base } = split(path);
    const directory = this.#paths.existing(parts);
    const node = directory === undefined ? 0 : names.find(directory, base);
    if (directory === undefined || node === 0) return undefined;
    const kind = names.kind(node);
    if (kind === kinds.pending) return undefined;
    const is = { path: pathOf(names, directory, base) };
    if (kind === kinds.whiteout) return { ...is, kind: 'whiteout' };
    if (kind !== kinds.directory) return { ...is, kind: 'other' };
    return { ...is, kind: directories.isOpaque(names.value(node)) ? 'opaque' : 'directory' };
  }

  link(from: string, to: string): void {
    const { names } = this.#builder;
    const [source, target] = [split(from), split(to)];
    const node = names.find(this.#paths.directory(source.parts), source.base);
    const home = this.#paths.directory(target.parts);
    this.#release(home, target.base);
    this.#builder.link(home, target.base, node);
  }

  #release(home: DirectoryId, name: string): void {
    const node = this.#builder.names.find(home, name);
    if (node !== 0) this.#builder.release(node, () => {});
  }

  /** Copies a file, symlink, device or FIFO of a lower layer, with all its attributes. */
  async copy(entry: LowerEntry, place: string, target: () => string): Promise<number> {
    const before = this.#builder.image.position;
    const { parts, base } = split(place);
    const home = this.#paths.directory(parts);
    this.#release(home, base);
    const stat = lstatSync(entry.location, { bigint: true });
    const attributes = lowerAttributes(stat);
    const xattrs = lowerXattrs(entry.location, entry.path).values();
    if (stat.isDirectory()) throw hostile(`a hard link to the directory ${shown(entry.path)}`);
    if (stat.isFile()) {
      const file = this.#builder.openFile(Number(stat.size), xattrs);
      await this.#copyContent(entry, Number(stat.size), file.content);
      this.#builder.put(home, base, kinds.file, this.#builder.closeFile(file, attributes));
    } else if (stat.isSymbolicLink()) {
      this.#builder.put(home, base, kinds.symlink, this.#builder.symlink(target(), attributes, xattrs));
    } else {
      const kind: InodeKind = stat.isCharacterDevice()
        ? 'character'
        : stat.isBlockDevice()
          ? 'block'
          : 'fifo';
      this.#builder.put(
        home,
        base,
        kinds[kind],
        this.#builder.special(kind, deviceOf(stat.rdev), attributes, xattrs),
      );
    }
    return this.#builder.image.position - before;
  }

  /** Holes stay holes, also where the lower file system does not tell them. */
  async #copyContent(
    { location, path }: LowerEntry,
    size: number,
    content: { write(piece: Buffer): void; hole(length: number): void },
  ): Promise<void> {
    const what = `copy ${shown(path)} of a lower layer`;
    const fd = namingSync(what, () => openSync(location, constants.O_RDONLY | constants.O_NOFOLLOW));
    const buffer = Buffer.allocUnsafe(Math.min(PIECE, Math.max(1, size)));
    try {
      for (let at = 0; at < size; ) {
        await this.#loop.yieldIfDue();
        const found = seekFile(fd, at, flags.SEEK_DATA);
        const data = found === ENXIO ? size : must(found, what);
        if (data > at) content.hole(data - at);
        if (data >= size) break;
        const end = Math.min(size, must(seekFile(fd, data, flags.SEEK_HOLE), what));
        for (at = data; at < end; ) {
          await this.#loop.yieldIfDue();
          const piece = buffer.subarray(0, Math.min(buffer.length, end - at));
          if (readFully(fd, piece, at) !== piece.length)
            throw hostile(`${shown(path)} of a lower layer has become shorter`);
          if (piece.length === PIECE && piece.equals(ZEROS)) content.hole(piece.length);
          else content.write(piece);
          at += piece.length;
        }
      }
    } finally {
      closeSync(fd);
    }
  }
}

/** From a device number of user space. */
const deviceOf = (rdev: bigint): number =>
  encodeDevice(Number((rdev >> 8n) & 0xfffn), Number((rdev & 0xffn) | ((rdev >> 12n) & 0xfff00n))) ?? 0;
