import { fstatSync } from 'node:fs';
import { cName, must, utimensat } from '#linux/fs/at-syscalls.ts';
import { copyUp, link, timesOfStat } from './copy-up.ts';
import { hostile, shown } from './entry.ts';
import { type Directory, join, type LayerTree } from './layer-tree.ts';
import type { LowerView } from './lower-view.ts';
import { isOpaque, isWhiteout } from './whiteout.ts';

/** Hard links in their order, each to what its target was at that place of the archive. */
export class LinkMaker {
  readonly #tree: LayerTree;
  readonly #view: LowerView;
  readonly #rootOpaque: boolean;
  /** What this has made, by path; all else in the layer came with the archive, after the link. */
  readonly #made = new Set<string>();
  /** Where the content of a lower entry is that this layer hides, by the path of the entry. */
  readonly #copies = new Map<string, string>();
  /** By directory: whether this layer hides what is in it. */
  readonly #hidden = new Map<string, boolean>();
  bytes = 0;
  inodes = 0;

  constructor(tree: LayerTree, view: LowerView, rootOpaque: boolean) {
    this.#tree = tree;
    this.#view = view;
    this.#rootOpaque = rootOpaque;
  }

  make(path: string, target: string): void {
    const found = this.#found(target) ?? this.#fromBelow(path, target);
    if (found !== path) {
      const at = parentOf(this.#tree, path);
      const from = parentOf(this.#tree, found);
      keepTimes(at, () => link(from, split(found).base, at, split(path).base));
    }
    this.#made.add(path);
  }

  /** The target, where this has made it. */
  #found(target: string): string | undefined {
    if (this.#made.has(target)) return target;
    const entry = this.#view.find(target);
    if (entry) return this.#made.has(entry.path) ? entry.path : this.#copies.get(entry.path);
    // No layer has it, but the archive does, after the link.
    const { parts, base } = split(target);
    const local = this.#tree.existing(parts);
    const stat = local && this.#tree.stat(local, cName(base));
    return local && stat && !isWhiteout(stat) ? join(local.path, base) : undefined;
  }

  /** Copies the target to its own path, or to that of the link where its own would make visible what this layer hides. */
  #fromBelow(path: string, target: string): string {
    const entry = this.#view.find(target);
    if (!entry) throw hostile(`hard link ${shown(path)} to ${shown(target)}, which no layer has`);
    const place = this.#hides(entry.path) ? path : entry.path;
    if (place === path) this.#copies.set(entry.path, path);
    const home = parentOf(this.#tree, place);
    keepTimes(home, () => copyUp(entry, home, split(place).base, () => this.#view.target(entry)));
    this.#made.add(place);
    this.inodes++;
    this.bytes += entry.stat.blocks * 512;
    return place;
  }

  /** Whether the layer has deleted or replaced what lies below at this path, or a directory above it. */
  #hides(path: string): boolean {
    const { parts, base } = split(path);
    if (this.#hidesBelow(parts)) return true;
    const directory = this.#tree.existing(parts);
    return directory !== undefined && this.#tree.stat(directory, cName(base)) !== undefined;
  }

  /** The same of all that is in this directory; links, and what is made for them, change nothing of it. */
  #hidesBelow(parts: readonly string[]): boolean {
    const base = parts.at(-1);
    if (base === undefined) return this.#rootOpaque;
    const path = parts.join('/');
    const known = this.#hidden.get(path);
    if (known !== undefined) return known;
    const above = parts.slice(0, -1);
    const hidden = this.#hidesBelow(above) || this.#replaces(above, base);
    this.#hidden.set(path, hidden);
    return hidden;
  }

  #replaces(above: readonly string[], base: string): boolean {
    const directory = this.#tree.existing(above);
    const stat = directory && this.#tree.stat(directory, cName(base));
    if (!directory || !stat) return false;
    return !stat.isDirectory() || isOpaque(cName(`/proc/self/fd/${directory.fd}/${base}`));
  }
}

/** The directory's own time was set at the end of the archive. */
function keepTimes(at: Directory, act: () => void): void {
  const before = fstatSync(at.fd);
  act();
  must(utimensat(at.fd, cName('.'), timesOfStat(before), 0), `set time of ${shown(at.path)}`);
}

/** The directory of a path of the layer. */
export const parentOf = (tree: LayerTree, path: string): Directory => tree.directory(split(path).parts);

/** The components of the directory of a path, and its last one. */
export function split(path: string): { parts: string[]; base: string } {
  const parts = path.split('/');
  const base = parts.pop() ?? '';
  return { parts, base };
}
