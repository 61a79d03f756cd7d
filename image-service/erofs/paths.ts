import { refused } from '#linux/libc/errno.ts';
import { hostile, shown } from '../unpack/entry.ts';
import { type DirectoryId, kinds, type LayerNames, type Node, ROOT } from './tree.ts';

const LINK_LIMIT = 40;
const NAME_MAX = 255;
const ENAMETOOLONG = 36;
/** Directories that are remembered by the paths that led to them. */
const MOST_KNOWN = 512;

export interface PathsOptions {
  /** Symlinks of the lower layers at paths where this layer only implies a directory. */
  readonly redirects: ReadonlyMap<string, string>;
  /** The target of a symlink of this layer. */
  readonly target: (node: Node) => string;
  /** Makes a directory that came without an entry of its own, in place of `node` if that is one. */
  readonly imply: (directory: DirectoryId, name: string, node: Node) => DirectoryId;
}

/** Finds directories by their paths as `LayerTree` does: symlinks are followed inside of the layer. */
export class LayerPaths {
  readonly #names: LayerNames;
  readonly #options: PathsOptions;
  readonly #known = new Map<string, DirectoryId>();

  constructor(names: LayerNames, options: PathsOptions) {
    this.#names = names;
    this.#options = options;
  }

  /** The directory at these parts; creates those that are missing. Throws InvalidArgument where a file blocks the path. */
  directory(parts: readonly string[]): DirectoryId {
    const found = this.#lookup(parts, true);
    if (found === undefined) throw hostile(`a directory cannot be created at ${shown(parts.join('/'))}`);
    return found;
  }

  /** The directory at these parts, or undefined where there is none in this layer. */
  existing(parts: readonly string[]): DirectoryId | undefined {
    return this.#lookup(parts, false);
  }

  /** To be called where a path may lead elsewhere from now on. */
  forget(): void {
    this.#known.clear();
  }

  #lookup(parts: readonly string[], make: boolean): DirectoryId | undefined {
    if (parts.length === 0) return ROOT;
    const key = parts.join('/');
    const known = this.#known.get(key);
    if (known !== undefined) return known;
    const found = this.#walk(parts, make);
    if (found === undefined) return undefined;
    if (this.#known.size >= MOST_KNOWN) this.#known.clear();
    this.#known.set(key, found);
    return found;
  }

  #walk(parts: readonly string[], make: boolean): DirectoryId | undefined {
    const todo = [...parts].reverse();
    let here = ROOT;
    let links = 0;
    for (let part = todo.pop(); part !== undefined; part = todo.pop()) {
      if (part === '' || part === '.') continue;
      if (part === '..') {
        here = this.#names.above(here);
        continue;
      }
      if (part.length > NAME_MAX) throw refused(`find ${shown(part)} in a layer`, ENAMETOOLONG);
      const node = this.#names.find(here, part);
      const kind = node === 0 ? kinds.pending : this.#names.kind(node);
      if (kind === kinds.directory) {
        here = this.#names.value(node);
        continue;
      }
      const target = this.#targetAt(here, part, node, kind);
      if (target !== undefined) {
        if (++links > LINK_LIMIT) throw hostile(`too many symlinks in ${shown(parts.join('/'))}`);
        if (target.startsWith('/')) here = ROOT;
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (kind !== kinds.whiteout && kind !== kinds.pending) throw this.#blocked(parts, here, part);
      if (!make) return undefined;
      here = this.#options.imply(here, part, node);
    }
    return here;
  }

  #targetAt(here: DirectoryId, part: string, node: Node, kind: number): string | undefined {
    if (kind === kinds.symlink) return this.#options.target(node);
    const { redirects } = this.#options;
    if (kind !== kinds.pending || redirects.size === 0) return undefined;
    return redirects.get(pathOf(this.#names, here, part));
  }

  #blocked(parts: readonly string[], here: DirectoryId, part: string): Error {
    const path = shown(pathOf(this.#names, here, part));
    return hostile(`a file blocks the path ${shown(parts.join('/'))}: ${path}`);
  }
}

/** The path of a name in a directory. */
export function pathOf(names: LayerNames, directory: DirectoryId, name: string): string {
  const path = names.path(directory);
  return path === '' ? name : `${path}/${name}`;
}
