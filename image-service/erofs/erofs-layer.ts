import type { Digest } from '#core/ids.ts';
import { refused } from '#linux/libc/errno.ts';
import type { UnpackLimits } from '../options.ts';
import type { Completion } from '../unpack/complete.ts';
import { hostile, shown, type TarEntry, type TarHandler } from '../unpack/entry.ts';
import { EventLoopYield } from '../unpack/event-loop-yield.ts';
import { LayerSize } from '../unpack/layer-size.ts';
import { type LayerReport, replacesTarget } from '../unpack/layer-writer.ts';
import { partsOf } from '../unpack/names.ts';
import { readWhiteout, WHITEOUT_PREFIX } from '../unpack/whiteout.ts';
import { Xattrs } from '../unpack/xattrs.ts';
import { ImageBuilder, type OpenFile } from './builder.ts';
import { completeImage } from './complete-image.ts';
import { IMAGE_FILE_BYTES } from './image-file.ts';
import { type Attributes, encodeDevice } from './inode.ts';
import { LayerPaths, pathOf } from './paths.ts';
import { type DirectoryId, kinds, type Node, ROOT } from './tree.ts';
import { selectXattrs } from './xattr-policy.ts';

const EINVAL = 22;
/** Memory of an open image: its buffers, and the most that an entry takes (a directory with attributes). */
const BUFFERS = IMAGE_FILE_BYTES + (1 << 18);
const ENTRY_BYTES = 256;
/** Without an entry there is no time: the same archive gives the same bytes. */
const UNDECLARED: Attributes = { mode: 0o755, uid: 0, gid: 0, mtime: 0n };
const WHITEOUT: Attributes = { mode: 0, uid: 0, gid: 0, mtime: 0n };

/** Writes a layer's entries into an EROFS image, as `LayerWriter` writes them into a directory. */
export class ErofsLayer implements TarHandler, Disposable {
  readonly #builder: ImageBuilder;
  readonly #paths: LayerPaths;
  readonly #size: LayerSize;
  readonly #xattrs = new Xattrs();
  /** Hard links to what is not in this layer: path and target, by their order. */
  readonly #links = new Map<number, readonly [string, string]>();
  #linkCount = 0;
  #file:
    | {
        readonly open: OpenFile;
        readonly at: DirectoryId;
        readonly name: string;
        readonly entry: TarEntry;
        readonly mode: number;
      }
    | undefined;
  #rootDeclared = false;
  #rootOpaque = false;

  /** Creates the file `path`, which must not exist. The caller deletes it after an error. */
  constructor(path: string, limits: UnpackLimits, redirects: ReadonlyMap<string, string> = new Map()) {
    this.#size = new LayerSize(limits);
    this.#builder = new ImageBuilder(path);
    this.#paths = new LayerPaths(this.#builder.names, {
      redirects,
      target: (node) => this.#builder.target(node),
      imply: (at, name, node) => this.#imply(at, name, node),
    });
  }

  [Symbol.dispose](): void {
    this.#builder[Symbol.dispose]();
  }

  entry(entry: TarEntry): void {
    this.#size.entry();
    const parts = partsOf(entry.name, 'a name');
    const base = parts.pop();
    if (base === undefined) this.#root(entry);
    else if (base.startsWith(WHITEOUT_PREFIX)) this.#whiteout(this.#paths.directory(parts), base);
    else this.#create(this.#paths.directory(parts), base, entry);
  }

  data(piece: Uint8Array): void {
    this.#file?.open.content.write(piece);
  }

  hole(length: number): void {
    this.#file?.open.content.hole(length);
  }

  entryEnd(): void {
    const file = this.#file;
    if (!file) return;
    this.#file = undefined;
    const { open, at, name, entry, mode } = file;
    if (open.content.position !== entry.size)
      throw new RangeError(`${shown(entry.name)} has another size than its header`);
    const place = this.#builder.closeFile(open, { ...entry, mode });
    this.#builder.put(at, name, kinds.file, place);
  }

  /** After the last entry: what the archive contained and lacked. */
  report(): LayerReport {
    const { names, directories, image, inodes } = this.#builder;
    const implied: string[] = [];
    for (let directory = 1; directory < names.directories; directory++)
      if (directories.isImplied(directory) && !directories.isDead(directory))
        implied.push(names.path(directory));
    return {
      rootDeclared: this.#rootDeclared,
      rootOpaque: this.#rootOpaque,
      implied,
      links: [...this.#links.values()],
      bytes: image.position,
      inodes,
      dropped: this.#xattrs.dropped(),
    };
  }

  /** Completes the layer against its chain, as `completeLayer`: `lower` are directories from the top to the bottom. */
  complete(lower: readonly string[], signal: AbortSignal): Promise<Completion> {
    return completeImage(this.#builder, lower, this.report(), signal);
  }

  /** Settles when the next piece of the archive may come: see `ImageFile.ready`. */
  ready(): Promise<void> {
    return this.#builder.image.ready();
  }

  /** Bytes of memory that the layer takes until it is finished, at most. */
  get held(): number {
    return BUFFERS + this.#size.entries * ENTRY_BYTES;
  }

  /** Writes what is known at the end only, in turns: of many directories it takes long. The image is not synced. */
  async finish(signal: AbortSignal): Promise<FinishedImage> {
    const loop = new EventLoopYield(signal);
    const steps = this.#builder.finish();
    for (;;) {
      await loop.yieldIfDue();
      const step = await steps.next();
      if (step.done) return finished(step.value);
    }
  }

  #root(entry: TarEntry): void {
    if (entry.type !== 'directory') throw hostile(`the entry of the root is a ${entry.type}`);
    this.#declare(ROOT, entry);
    this.#rootDeclared = true;
  }

  #create(at: DirectoryId, base: string, entry: TarEntry): void {
    const node = this.#builder.names.find(at, base);
    if (entry.type === 'directory') this.#directory(at, base, node, entry);
    else if (entry.type === 'hardlink') this.#hardLink(at, base, node, entry);
    else if (entry.type === 'symlink') this.#symlink(at, base, node, entry);
    else if (entry.type === 'file') this.#createFile(at, base, node, entry);
    else this.#special(at, base, node, entry);
  }

  #createFile(at: DirectoryId, name: string, node: Node, entry: TarEntry): void {
    this.#release(node);
    const { entries, mode } = selectXattrs(entry, this.#xattrs);
    const open = this.#builder.openFile(entry.size, entries.values());
    this.#file = { open, at, name, entry, mode };
  }

  #symlink(at: DirectoryId, base: string, node: Node, entry: TarEntry): void {
    if (entry.link === '' || entry.link.length > 4095)
      throw hostile(`symbolic link ${shown(entry.name)} with a target of ${entry.link.length} bytes`);
    this.#release(node);
    const { entries } = selectXattrs(entry, this.#xattrs);
    const place = this.#builder.symlink(entry.link, { ...entry, mode: 0o777 }, entries.values());
    this.#builder.put(at, base, kinds.symlink, place);
  }

  #special(at: DirectoryId, base: string, node: Node, entry: TarEntry): void {
    const { type, major, minor } = entry;
    if (type !== 'character' && type !== 'block' && type !== 'fifo') throw new TypeError(type);
    const device = type === 'fifo' ? 0 : encodeDevice(major, minor);
    if (device === undefined) throw refused(`make ${type} ${shown(entry.name)}`, EINVAL);
    this.#release(node);
    const { entries, mode } = selectXattrs(entry, this.#xattrs);
    const place = this.#builder.special(type, device, { ...entry, mode }, entries.values());
    const kind = type === 'character' && device === 0 ? kinds.whiteout : kinds[type];
    this.#builder.put(at, base, kind, place);
  }

  #directory(at: DirectoryId, base: string, node: Node, entry: TarEntry): void {
    const { names } = this.#builder;
    if (node !== 0 && names.kind(node) === kinds.directory) {
      this.#declare(names.value(node), entry);
      return;
    }
    const hides = node !== 0 && names.kind(node) !== kinds.pending;
    this.#release(node);
    const directory = this.#builder.makeDirectory(at, base, UNDECLARED);
    // A whiteout, or another entry of this name, has deleted the lower directory: it must stay hidden.
    if (hides) this.#builder.directories.setOpaque(directory);
    this.#declare(directory, entry);
  }

  /** Gives a directory the attributes of its entry; those that it has from an earlier one stay, as on a file system. */
  #declare(directory: DirectoryId, entry: TarEntry): void {
    const { directories } = this.#builder;
    directories.changeMode(directory, entry.mode);
    const { entries, mode } = selectXattrs(entry, this.#xattrs);
    directories.set(directory, { ...entry, mode });
    for (const [name, value] of entries)
      if (!directories.setXattr(directory, name, value)) this.#xattrs.drop(name, entry.name);
    directories.setImplied(directory, false);
  }

  #hardLink(at: DirectoryId, base: string, node: Node, entry: TarEntry): void {
    const { names } = this.#builder;
    const target = partsOf(entry.link, 'the target of a hard link');
    const targetBase = target.pop();
    if (targetBase === undefined) throw hostile(`hard link ${shown(entry.name)} to the root`);
    // Whatever the name was to be later, it is this now.
    if (node !== 0 && names.kind(node) === kinds.pending) this.#links.delete(names.value(node));
    const from = this.#paths.existing(target);
    const found = from === undefined ? 0 : names.find(from, targetBase);
    if (from === undefined || found === 0 || names.kind(found) === kinds.pending) {
      this.#release(node);
      const above = from === undefined ? target.join('/') : names.path(from);
      const missing = above === '' ? targetBase : `${above}/${targetBase}`;
      const path = pathOf(names, at, base);
      this.#size.link(path, missing);
      this.#links.set(this.#linkCount, [path, missing]);
      this.#builder.pend(at, base, this.#linkCount++);
      return;
    }
    if (names.kind(found) === kinds.directory || names.kind(found) === kinds.whiteout)
      throw hostile(`hard link ${shown(entry.name)} to ${shown(entry.link)}, which is not a file`);
    if (found === node) return;
    if (this.#isIn(from, node)) throw replacesTarget(entry);
    this.#release(node);
    this.#builder.link(at, base, found);
  }

  #whiteout(at: DirectoryId, base: string): void {
    const whiteout = readWhiteout(base);
    if (whiteout.kind === 'delete') this.#delete(at, whiteout.name);
    if (whiteout.kind !== 'opaque') return;
    if (at !== ROOT) this.#builder.directories.setOpaque(at);
    else this.#rootOpaque = true; // overlayfs has no opaque root: the layers below are omitted from the mount
  }

  #delete(at: DirectoryId, name: string): void {
    const { names, directories } = this.#builder;
    const node = names.find(at, name);
    // A hard link that is made later stays, like all that this layer contains.
    if (node === 0)
      this.#builder.put(at, name, kinds.whiteout, this.#builder.special('character', 0, WHITEOUT));
    // Deletions concern the layers below only: what this layer contains stays, and hides what is below.
    else if (names.kind(node) === kinds.directory) directories.setOpaque(names.value(node));
  }

  #imply(at: DirectoryId, name: string, node: Node): DirectoryId {
    const { names, directories } = this.#builder;
    const path = pathOf(names, at, name);
    // Nothing is there yet, but a hard link will be created there.
    if (node !== 0 && names.kind(node) === kinds.pending)
      throw hostile(`a hard link blocks the path: ${shown(path)}`);
    this.#size.implied(path);
    this.#release(node);
    const directory = this.#builder.makeDirectory(at, name, UNDECLARED);
    if (node !== 0) directories.setOpaque(directory);
    directories.setImplied(directory, true);
    return directory;
  }

  /** Before a name stands for something else. */
  #release(node: Node): void {
    if (node === 0) return;
    const kind = this.#builder.names.kind(node);
    this.#builder.release(node, (order) => this.#links.delete(order));
    if (kind === kinds.directory || kind === kinds.symlink) this.#paths.forget();
  }

  /** Whether a directory is that of the node, or in it. */
  #isIn(directory: DirectoryId, node: Node): boolean {
    const { names } = this.#builder;
    if (node === 0 || names.kind(node) !== kinds.directory) return false;
    for (let at = directory; at !== ROOT; at = names.above(at)) if (at === names.value(node)) return true;
    return false;
  }
}

/** What an image has come to; for the digest see `LayerImage`. */
export interface FinishedImage {
  readonly digest: Digest;
  readonly bytes: number;
  readonly inodes: number;
}

const finished = ({
  digest,
  ...sizes
}: {
  digest: Buffer;
  bytes: number;
  inodes: number;
}): FinishedImage => ({
  digest: `sha256:${digest.toString('hex')}` as Digest,
  ...sizes,
});
