import { writeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { fromNode } from '#linux/errno.ts';
import {
  close,
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
} from '#linux/sync.ts';
import type { UnpackLimits } from '../options.ts';
import { applyAt, applyOpen, creationMode, hasSetgid, timesOf, withoutSetgid } from './attributes.ts';
import { hostile, shown, type TarEntry, type TarHandler } from './entry.ts';
import { type Directory, join, LayerTree } from './layer-tree.ts';
import { partsOf } from './names.ts';
import { isWhiteout, readWhiteout, setOpaque, WHITEOUT_PREFIX } from './whiteout.ts';

const EEXIST = -17;
const CREATE = flags.O_WRONLY | flags.O_CREAT | flags.O_EXCL | O_NOFOLLOW | flags.O_CLOEXEC;
const S_IFCHR = 0o020000;
const S_IFBLK = 0o060000;
const S_IFIFO = 0o010000;
const BLOCK = 4096;

/** What an archive did and did not bring. Paths are byte strings (latin1) without links. */
export interface LayerReport {
  /** Whether the archive has an entry for its root. */
  readonly rootDeclared: boolean;
  /** Whether the layer hides all that lies below it. */
  readonly rootOpaque: boolean;
  /** Directories without an entry of their own, parents first. */
  readonly implied: readonly string[];
  /** Hard links to what is not in this layer: path and target, in the archive's order. */
  readonly links: readonly (readonly [string, string])[];
  /** Bytes on the disk, in whole blocks. */
  readonly bytes: number;
  readonly inodes: number;
}

/** Writes a layer's entries into a directory, in the form that overlayfs takes as a lower layer. */
export class LayerWriter implements TarHandler, Disposable {
  readonly #tree: LayerTree;
  readonly #limits: UnpackLimits;
  readonly #links = new Map<string, string>();
  /** Times of directories are set when nothing more is written into them. */
  readonly #times = new Map<string, bigint>();
  readonly #setgid = new Map<string, number>();
  #file: { fd: number; entry: TarEntry } | undefined;
  #rootDeclared = false;
  #rootOpaque = false;
  #bytes = BLOCK;
  #inodes = 1;
  #entries = 0;

  constructor(directory: string, limits: UnpackLimits, redirects?: ReadonlyMap<string, string>) {
    this.#tree = new LayerTree(directory, redirects);
    this.#limits = limits;
  }

  [Symbol.dispose](): void {
    if (this.#file) close(this.#file.fd);
    this.#file = undefined;
    this.#tree[Symbol.dispose]();
  }

  entry(entry: TarEntry): void {
    if (++this.#entries > this.#limits.layerEntries) {
      throw new CrispError(
        'ResourceExhausted',
        `layer archive: more than ${this.#limits.layerEntries} entries`,
        {
          hint: 'raise the limit of entries in a layer, if the image is to be trusted',
        },
      );
    }
    const parts = partsOf(entry.name, 'a name');
    const base = parts.pop();
    if (base === undefined) this.#root(entry);
    else if (base.startsWith(WHITEOUT_PREFIX)) this.#whiteout(this.#tree.directory(parts), base);
    else this.#make(this.#tree.directory(parts), base, entry);
  }

  data(piece: Uint8Array): void {
    const file = this.#file;
    if (!file) return;
    try {
      for (let at = 0; at < piece.length; ) at += writeSync(file.fd, piece, at, piece.length - at);
    } catch (error) {
      throw fromNode(error, `write ${shown(file.entry.name)} of a layer`);
    }
  }

  entryEnd(): void {
    const file = this.#file;
    if (!file) return;
    applyOpen(file.fd, file.entry, creationMode(file.entry.mode));
    this.#file = undefined;
    close(file.fd);
    this.#bytes += Math.ceil(file.entry.size / BLOCK) * BLOCK;
  }

  /** After the last entry: sets the times of directories and tells what is to be completed. */
  finish(): LayerReport {
    for (const [path, mode] of this.#setgid) {
      must(fchmodat(this.#tree.root, cName(path === '' ? '.' : path), mode, 0), `set mode of ${shown(path)}`);
    }
    for (const [path, mtime] of [...this.#times].reverse()) {
      const name = cName(path === '' ? '.' : path);
      must(
        utimensat(this.#tree.root, name, timesOf(mtime), flags.AT_SYMLINK_NOFOLLOW),
        `set time of ${shown(path)}`,
      );
    }
    const implied = [...this.#tree.implied];
    return {
      rootDeclared: this.#rootDeclared,
      rootOpaque: this.#rootOpaque,
      implied,
      links: [...this.#links],
      bytes: this.#bytes + implied.length * BLOCK,
      inodes: this.#inodes + implied.length,
    };
  }

  #make(at: Directory, base: string, entry: TarEntry): void {
    this.#links.delete(join(at.path, base));
    if (entry.type !== 'hardlink') this.#inodes++;
    if (entry.type === 'file') this.#create(at, base, entry);
    else if (entry.type === 'directory') this.#directory(at, base, entry);
    else if (entry.type === 'hardlink') this.#hardLink(at, base, entry);
    else if (entry.type === 'symlink') this.#symlink(at, base, entry);
    else this.#special(at, base, entry);
  }

  #root(entry: TarEntry): void {
    if (entry.type !== 'directory') throw hostile(`the root is to be a ${entry.type}`);
    applyOpen(this.#tree.root, { ...entry, mode: withoutSetgid(entry.mode) });
    this.#defer('', entry.mode);
    this.#rootDeclared = true;
    this.#times.set('', entry.mtime);
  }

  #defer(path: string, mode: number): void {
    if (hasSetgid(mode)) this.#setgid.set(path, mode);
    else this.#setgid.delete(path);
  }

  #create(at: Directory, base: string, entry: TarEntry): void {
    const fd = this.#fresh(at, base, (name) => openat(at.fd, name, CREATE, creationMode(entry.mode)), entry);
    this.#file = { fd, entry };
  }

  #symlink(at: Directory, base: string, entry: TarEntry): void {
    if (entry.link === '' || entry.link.length > 4095) {
      throw hostile(`symbolic link ${shown(entry.name)} with a target of ${entry.link.length} bytes`);
    }
    this.#fresh(at, base, (name) => symlinkat(cName(entry.link), at.fd, name), entry);
    applyAt(at, base, entry, 'link');
  }

  #special(at: Directory, base: string, entry: TarEntry): void {
    const type = entry.type === 'character' ? S_IFCHR : entry.type === 'block' ? S_IFBLK : S_IFIFO;
    const device = makeDevice(entry.major, entry.minor);
    this.#fresh(at, base, (name) => mknodat(at.fd, name, type | 0o600, device), entry);
    applyAt(at, base, entry, 'special');
  }

  #directory(at: Directory, base: string, entry: TarEntry): void {
    const name = cName(base);
    const path = join(at.path, base);
    const made = mkdirat(at.fd, name, 0o700);
    if (made === EEXIST) {
      const stat = this.#tree.stat(at, name);
      if (!stat?.isDirectory()) {
        this.#drop(at, base);
        must(mkdirat(at.fd, name, 0o700), `make directory ${shown(entry.name)}`);
        // What was deleted before must not shine through the new directory.
        if (stat && isWhiteout(stat)) setOpaque(at, base);
      }
    } else must(made, `make directory ${shown(entry.name)}`);
    this.#tree.implied.delete(path);
    applyAt(at, base, { ...entry, mode: withoutSetgid(entry.mode) }, 'directory');
    this.#defer(path, entry.mode);
    this.#times.set(path, entry.mtime);
    this.#bytes += BLOCK;
  }

  #hardLink(at: Directory, base: string, entry: TarEntry): void {
    const target = partsOf(entry.link, 'the target of a hard link');
    const targetBase = target.pop();
    if (targetBase === undefined) throw hostile(`hard link ${shown(entry.name)} to the root`);
    const from = this.#tree.existing(target);
    const stat = from && this.#tree.stat(from, cName(targetBase));
    if (!from || !stat || this.#links.has(join(from.path, targetBase))) {
      this.#drop(at, base);
      this.#links.set(join(at.path, base), join(from?.path ?? target.join('/'), targetBase));
      return;
    }
    if (stat.isDirectory() || isWhiteout(stat)) {
      throw hostile(`hard link ${shown(entry.name)} to ${shown(entry.link)}, which is no file`);
    }
    if (from.path === at.path && targetBase === base) return;
    this.#fresh(at, base, (name) => linkat(from.fd, cName(targetBase), at.fd, name, 0), entry);
  }

  #whiteout(at: Directory, base: string): void {
    const whiteout = readWhiteout(base);
    if (whiteout.kind === 'delete') this.#delete(at, whiteout.name);
    if (whiteout.kind !== 'opaque') return;
    if (at.path !== '') setOpaque(at, '.');
    else this.#rootOpaque = true; // overlayfs knows no opaque root: the layers below are left out of the mount
  }

  #delete(at: Directory, base: string): void {
    const name = cName(base);
    const made = mknodat(at.fd, name, S_IFCHR, 0n);
    if (made !== EEXIST) {
      must(made, `make whiteout ${shown(join(at.path, base))}`);
      this.#inodes++;
      return;
    }
    // Deletions concern the layers below only: what this layer brings stays, alone.
    if (this.#tree.stat(at, name)?.isDirectory()) setOpaque(at, base);
  }

  /** Makes an entry; what an earlier entry of that name left is replaced. */
  #fresh(at: Directory, base: string, make: (name: Uint8Array) => number, entry: TarEntry): number {
    const name = cName(base);
    const made = make(name);
    if (made !== EEXIST) return must(made, `make ${entry.type} ${shown(entry.name)}`);
    this.#drop(at, base);
    return must(make(name), `make ${entry.type} ${shown(entry.name)}`);
  }

  #drop(at: Directory, base: string): void {
    const path = join(at.path, base);
    if (!this.#tree.remove(at, cName(base), base)) return;
    for (const known of [this.#times, this.#setgid, this.#links]) {
      for (const key of known.keys()) if (key === path || key.startsWith(`${path}/`)) known.delete(key);
    }
  }
}
