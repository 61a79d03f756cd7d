import { fstatSync } from 'node:fs';
import { cName, must, utimensat } from '#linux/fs/at-syscalls.ts';
import { timesOf } from './attributes.ts';
import { copyUp, link } from './copy-up.ts';
import { shown } from './entry.ts';
import { type Directory, join, type LayerTree } from './layer-tree.ts';
import { type FoundInLayer, type LayerOfLinks, split } from './link-maker.ts';
import type { LowerEntry } from './lower-view.ts';
import { isOpaque, isWhiteout } from './whiteout.ts';

/** A layer that is a directory, for hard links to what the layers below have. */
export class DirectoryLinks implements LayerOfLinks {
  readonly #tree: LayerTree;

  constructor(tree: LayerTree) {
    this.#tree = tree;
  }

  find(path: string): FoundInLayer | undefined {
    const { parts, base } = split(path);
    const directory = this.#tree.existing(parts);
    const stat = directory && this.#tree.stat(directory, cName(base));
    if (!directory || !stat) return undefined;
    const found = join(directory.path, base);
    if (isWhiteout(stat)) return { path: found, kind: 'whiteout' };
    if (!stat.isDirectory()) return { path: found, kind: 'other' };
    const opaque = isOpaque(cName(`/proc/self/fd/${directory.fd}/${base}`));
    return { path: found, kind: opaque ? 'opaque' : 'directory' };
  }

  link(from: string, to: string): void {
    const at = parentOf(this.#tree, to);
    const home = parentOf(this.#tree, from);
    const { base } = split(to);
    keepTimes(at, () => {
      this.#tree.remove(at, cName(base), base);
      link(home, split(from).base, at, base);
    });
  }

  copy(entry: LowerEntry, place: string, target: () => string): number {
    const home = parentOf(this.#tree, place);
    const { base } = split(place);
    keepTimes(home, () => {
      this.#tree.remove(home, cName(base), base);
      copyUp(entry, home, base, target);
    });
    return entry.stat.blocks * 512;
  }
}

/** The directory's own time was set at the end of the archive. */
function keepTimes(at: Directory, act: () => void): void {
  const { mtimeNs } = fstatSync(at.fd, { bigint: true });
  act();
  must(utimensat(at.fd, cName('.'), timesOf(mtimeNs), 0), `set time of ${shown(at.path)}`);
}

/** The directory of a path of the layer. */
export const parentOf = (tree: LayerTree, path: string): Directory => tree.directory(split(path).parts);
