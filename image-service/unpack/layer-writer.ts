import type { CrispError } from '#core/errors.ts';
import {
  cName,
  fchmodat,
  flags,
  linkat,
  makeDevice,
  mkdirat,
  mknodat,
  must,
  O_NOFOLLOW,
  openat,
  symlinkat,
  utimensat,
} from '#linux/fs/at-syscalls.ts';
import type { UnpackLimits } from '../options.ts';
import { applyAt, applyOpen, creationMode, hasSetgid, timesOf, withoutSetgid } from './attributes.ts';
import { hostile, shown, type TarEntry, type TarHandler } from './entry.ts';
import { LayerFile } from './layer-file.ts';
import { LayerSize } from './layer-size.ts';
import { type Directory, join, LayerTree } from './layer-tree.ts';
import { partsOf } from './names.ts';
import { isWhiteout, readWhiteout, setOpaque, WHITEOUT_PREFIX } from './whiteout.ts';
import { type DroppedAttribute, Xattrs } from './xattrs.ts';

const EEXIST = -17;
const CREATE = flags.O_WRONLY | flags.O_CREAT | flags.O_EXCL | O_NOFOLLOW | flags.O_CLOEXEC;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;
const BLOCK = 4096;

/** What an archive contained and lacked. Paths are byte strings (latin1) without symlinks. */
export interface LayerReport {
  /** Whether the archive has an entry for its root. */
  readonly rootDeclared: boolean;
  /** Whether the layer hides all that is below it. */
  readonly rootOpaque: boolean;
  /** Directories without an entry of their own, parents first. */
  readonly implied: readonly string[];
  /** Hard links to what is not in this layer: path and target, in the archive's order. */
  readonly links: readonly (readonly [string, string])[];
  /** Bytes on the disk, in whole blocks. */
  readonly bytes: number;
  readonly inodes: number;
  /** Extended attributes that were not set. */
  readonly dropped: readonly DroppedAttribute[];
}

/** Writes a layer's entries into a directory, in the form that overlayfs takes as a lower layer. */
export class LayerWriter implements TarHandler, Disposable {
  readonly #tree: LayerTree;
  readonly #size: LayerSize;
  readonly #xattrs = new Xattrs();
  #links = 0;
  #file: LayerFile | undefined;
  #rootDeclared = false;
  #rootOpaque = false;
  #bytes = BLOCK;
  #inodes = 1;

  constructor(directory: string, limits: UnpackLimits, redirects: ReadonlyMap<string, string> = new Map()) {
    const size = new LayerSize(limits);
    this.#size = size;
    this.#tree = new LayerTree(directory, { redirects, implies: (path) => size.implied(path) });
  }

  [Symbol.dispose](): void {
    this.#file?.close();
    this.#file = undefined;
    this.#tree[Symbol.dispose]();
  }

  entry(entry: TarEntry): void {
    this.#size.entry();
    const parts = partsOf(entry.name, 'a name');
    const base = parts.pop();
    if (base === undefined) this.#root(entry);
    else if (base.startsWith(WHITEOUT_PREFIX)) this.#whiteout(this.#tree.directory(parts), base);
    else this.#create(this.#tree.directory(parts), base, entry);
  }

  data(piece: Uint8Array): void {
    this.#file?.write(piece);
  }

  hole(length: number): void {
    this.#file?.hole(length);
  }

  entryEnd(): void {
    const file = this.#file;
    if (!file) return;
    this.#bytes += file.end(this.#xattrs);
    this.#file = undefined;
  }

  /** After the last entry: sets the times of directories and returns what is to be completed. */
  finish(): LayerReport {
    const links: { path: string; target: string; order: number }[] = [];
    for (const [path, { mtime, setgid, link }] of this.#tree.notes) {
      if (link) links.push({ path, ...link });
      const name = cName(path === '' ? '.' : path);
      if (setgid !== undefined)
        must(fchmodat(this.#tree.root, name, setgid, 0), `set mode of ${shown(path)}`);
      if (mtime === undefined) continue;
      const set = utimensat(this.#tree.root, name, timesOf(mtime), flags.AT_SYMLINK_NOFOLLOW);
      must(set, `set time of ${shown(path)}`);
    }
    links.sort((a, b) => a.order - b.order);
    const implied = this.#tree.implied();
    return {
      rootDeclared: this.#rootDeclared,
      rootOpaque: this.#rootOpaque,
      implied,
      links: links.map(({ path, target }) => [path, target]),
      bytes: this.#bytes + implied.length * BLOCK,
      inodes: this.#inodes + implied.length,
      dropped: this.#xattrs.dropped(),
    };
  }

  #create(at: Directory, base: string, entry: TarEntry): void {
    const known = this.#tree.notes.find(join(at.path, base));
    if (known) delete known.link;
    if (entry.type !== 'hardlink') this.#inodes++;
    if (entry.type === 'file') this.#createFile(at, base, entry);
    else if (entry.type === 'directory') this.#directory(at, base, entry);
    else if (entry.type === 'hardlink') this.#hardLink(at, base, entry);
    else if (entry.type === 'symlink') this.#symlink(at, base, entry);
    else this.#special(at, base, entry);
  }

  #root(entry: TarEntry): void {
    if (entry.type !== 'directory') throw hostile(`the entry of the root is a ${entry.type}`);
    applyOpen(this.#tree.root, { ...entry, mode: withoutSetgid(entry.mode) }, this.#xattrs);
    this.#defer('', entry);
    this.#rootDeclared = true;
  }

  /** Remembers the attributes of a directory that are set after the last write into it. */
  #defer(path: string, { mode, mtime }: TarEntry): void {
    const note = this.#tree.notes.at(path);
    note.mtime = mtime;
    note.implied = false;
    if (hasSetgid(mode)) note.setgid = mode;
    else delete note.setgid;
  }

  #createFile(at: Directory, base: string, entry: TarEntry): void {
    const fd = this.#createNew(
      at,
      base,
      (name) => openat(at.fd, name, CREATE, creationMode(entry.mode)),
      entry,
    );
    this.#file = new LayerFile(fd, entry);
  }

  #symlink(at: Directory, base: string, entry: TarEntry): void {
    if (entry.link === '' || entry.link.length > 4095) {
      throw hostile(`symbolic link ${shown(entry.name)} with a target of ${entry.link.length} bytes`);
    }
    this.#createNew(at, base, (name) => symlinkat(cName(entry.link), at.fd, name), entry);
    applyAt(at, base, entry, 'link', this.#xattrs);
  }

  #special(at: Directory, base: string, entry: TarEntry): void {
    const type = entry.type === 'character' ? S_IFCHR : entry.type === 'block' ? S_IFBLK : S_IFIFO;
    const device = makeDevice(entry.major, entry.minor);
    this.#createNew(at, base, (name) => mknodat(at.fd, name, type | 0o600, device), entry);
    applyAt(at, base, entry, 'special', this.#xattrs);
  }

  #directory(at: Directory, base: string, entry: TarEntry): void {
    const name = cName(base);
    const path = join(at.path, base);
    const made = mkdirat(at.fd, name, 0o700);
    if (made === EEXIST) {
      const stat = this.#tree.stat(at, name);
      if (!stat?.isDirectory()) {
        this.#tree.remove(at, name, base);
        must(mkdirat(at.fd, name, 0o700), `make directory ${shown(entry.name)}`);
        // A whiteout, or another entry of this name, has deleted the lower directory: it must stay hidden.
        if (stat) setOpaque(at, base);
      }
    } else must(made, `make directory ${shown(entry.name)}`);
    applyAt(at, base, { ...entry, mode: withoutSetgid(entry.mode) }, 'directory', this.#xattrs);
    this.#defer(path, entry);
    this.#bytes += BLOCK;
  }

  #hardLink(at: Directory, base: string, entry: TarEntry): void {
    const target = partsOf(entry.link, 'the target of a hard link');
    const targetBase = target.pop();
    if (targetBase === undefined) throw hostile(`hard link ${shown(entry.name)} to the root`);
    const from = this.#tree.existing(target);
    const stat = from && this.#tree.stat(from, cName(targetBase));
    if (!from || !stat || this.#tree.notes.find(join(from.path, targetBase))?.link) {
      this.#tree.remove(at, cName(base), base);
      const missing = join(from?.path ?? target.join('/'), targetBase);
      const path = join(at.path, base);
      this.#size.link(path, missing);
      this.#tree.notes.at(path).link = { target: missing, order: this.#links++ };
      return;
    }
    if (stat.isDirectory() || isWhiteout(stat)) {
      throw hostile(`hard link ${shown(entry.name)} to ${shown(entry.link)}, which is not a file`);
    }
    if (from.path === at.path && targetBase === base) return;
    const path = join(at.path, base);
    if (from.path === path || from.path.startsWith(`${path}/`)) throw replacesTarget(entry);
    // Looked up each time: a directory that is replaced takes the open ones with it.
    const link = (name: Uint8Array): number =>
      linkat((this.#tree.existing(target) ?? from).fd, cName(targetBase), at.fd, name, 0);
    this.#createNew(at, base, link, entry);
  }

  #whiteout(at: Directory, base: string): void {
    const whiteout = readWhiteout(base);
    if (whiteout.kind === 'delete') this.#delete(at, whiteout.name);
    if (whiteout.kind !== 'opaque') return;
    if (at.path !== '') setOpaque(at, '.');
    else this.#rootOpaque = true; // overlayfs has no opaque root: the layers below are omitted from the mount
  }

  #delete(at: Directory, base: string): void {
    // A hard link that is made later stays, like all that this layer contains.
    if (this.#tree.notes.find(join(at.path, base))?.link) return;
    const name = cName(base);
    const made = mknodat(at.fd, name, S_IFCHR, 0n);
    if (made !== EEXIST) {
      must(made, `make whiteout ${shown(join(at.path, base))}`);
      this.#inodes++;
      return;
    }
    // Deletions concern the layers below only: what this layer contains stays, and hides what is below.
    if (this.#tree.stat(at, name)?.isDirectory()) setOpaque(at, base);
  }

  /** Creates an entry; an earlier entry of that name is replaced. */
  #createNew(at: Directory, base: string, make: (name: Uint8Array) => number, entry: TarEntry): number {
    const name = cName(base);
    const made = make(name);
    if (made !== EEXIST) return must(made, `make ${entry.type} ${shown(entry.name)}`);
    this.#tree.remove(at, name, base);
    return must(make(name), `make ${entry.type} ${shown(entry.name)}`);
  }
}

/** A hard link in the place of a directory, to a file in it. */
export const replacesTarget = ({ name, link }: TarEntry): CrispError =>
  hostile(`hard link ${shown(name)} to ${shown(link)}, which it would replace`);
