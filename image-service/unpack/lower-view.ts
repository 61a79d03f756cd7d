import { lstatSync, readlinkSync, type Stats } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import { hostile, shown } from './entry.ts';
import { isOpaque, isWhiteout } from './whiteout.ts';

const LINK_LIMIT = 40;
/** Directories that are cached. */
const MAX_CACHED = 4096;

/** An entry of the layers below. */
export interface LowerEntry {
  /** Its path in the merged view, without symlinks. */
  readonly path: string;
  /** Its path on the disk. Bytes, like all paths here. */
  readonly location: Buffer;
  readonly stat: Stats;
}

/** A directory of the merged view and the layers that merge into it. */
interface Merged {
  readonly path: string;
  readonly layers: readonly string[];
  readonly above: Merged | undefined;
}

/** The layers below as overlayfs merges them. `layers` are directories from the top to the bottom. */
export class LowerView {
  readonly #top: Merged;
  /** By requested path: the next lookup mostly concerns the same directory or the one below. */
  readonly #directories = new Map<string, Merged>();

  constructor(layers: readonly string[]) {
    const bytes = layers.map((layer) => Buffer.from(layer).toString('latin1'));
    this.#top = { path: '', layers: bytes, above: undefined };
  }

  /** The entry at the path. Symlinks are followed inside the view, except as the last component. */
  find(path: string): LowerEntry | undefined {
    const slash = path.lastIndexOf('/');
    const [above, base] = [path.slice(0, Math.max(0, slash)), path.slice(slash + 1)];
    const from = slash < 0 ? this.#top : this.#directory(above, path);
    const found = from && this.#resolve(from, base, path);
    if (found?.directory) this.#cache(path, found.directory);
    return found?.entry;
  }

  #directory(path: string, what: string): Merged | undefined {
    const known = this.#directories.get(path);
    if (known) return known;
    // The trailing slash: here a symlink at the end is followed, too.
    const found = this.#resolve(this.#top, `${path}/`, what)?.directory;
    if (found) this.#cache(path, found);
    return found;
  }

  /** Resolves a path from a directory. `directory` is set if the result is one. */
  #resolve(
    from: Merged,
    path: string,
    what: string,
  ): { entry: LowerEntry | undefined; directory?: Merged } | undefined {
    const todo = path.split('/').reverse();
    let here = from;
    for (let links = 0; ; ) {
      const part = todo.pop();
      if (part === undefined) return { entry: this.#entryOf(here), directory: here };
      if (part === '' || part === '.') continue;
      if (part === '..') {
        here = here.above ?? here;
        continue;
      }
      const found = this.#child(here, part);
      if (!found) return undefined;
      if (todo.length === 0 && !found.entry.stat.isDirectory()) return { entry: found.entry };
      if (found.entry.stat.isSymbolicLink()) {
        if (++links > LINK_LIMIT) throw hostile(`too many symlinks in ${shown(what)}`);
        const target = readlinkSync(found.entry.location, 'latin1');
        if (target.startsWith('/')) here = this.#top;
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (!found.entry.stat.isDirectory()) return undefined;
      here = { path: found.entry.path, layers: found.layers, above: here };
    }
  }

  #cache(path: string, directory: Merged): void {
    if (this.#directories.size >= MAX_CACHED) this.#directories.clear();
    this.#directories.set(path, directory);
  }

  /** The target of a symlink that `find` returned. */
  target(entry: LowerEntry): string {
    return readlinkSync(entry.location, 'latin1');
  }

  #entryOf(here: Merged): LowerEntry | undefined {
    const top = here.layers[0];
    if (top === undefined) return undefined;
    const location = pathIn(top, here.path);
    return { path: here.path, location, stat: lstatSync(location) };
  }

  /** The child as the topmost layer has it, and the layers that merge into it where it is a directory. */
  #child(
    parent: { path: string; layers: readonly string[] },
    part: string,
  ): { entry: LowerEntry; layers: readonly string[] } | undefined {
    const path = parent.path === '' ? part : `${parent.path}/${part}`;
    const merged: string[] = [];
    let top: LowerEntry | undefined;
    for (const layer of parent.layers) {
      const location = pathIn(layer, path);
      const stat = lstatIfPresent(location);
      if (!stat) continue;
      if (isWhiteout(stat)) break;
      if (!stat.isDirectory()) {
        top ??= { path, location, stat };
        break;
      }
      top ??= { path, location, stat };
      merged.push(layer);
      if (isOpaque(Buffer.concat([location, Buffer.from([0])]))) break;
    }
    return top && { entry: top, layers: merged };
  }
}

const pathIn = (layer: string, path: string): Buffer => Buffer.from(`${layer}/${path}`, 'latin1');

function lstatIfPresent(location: Buffer): Stats | undefined {
  try {
    return lstatSync(location);
  } catch (error) {
    // Too long a path: no container could use it either.
    if (['ENOENT', 'ENOTDIR', 'ENAMETOOLONG'].includes(errnoOf(error) ?? '')) return undefined;
    throw error;
  }
}
