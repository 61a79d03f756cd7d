import { readlinkSync, type Stats } from 'node:fs';
import {
  type CName,
  close,
  cName,
  flags,
  mkdirat,
  must,
  O_DIRECTORY,
  openat,
  openDirectoryBeneath,
  openInRoot,
  unlinkat,
} from '#linux/fs/at-syscalls.ts';
import { removeTreeSync } from '#linux/fs/remove-tree.ts';
import { hostile, shown } from './entry.ts';
import { LayerNotes } from './layer-notes.ts';
import { join, lookAt, Place } from './layer-place.ts';
import { isWhiteout, setOpaque } from './whiteout.ts';

export { join } from './layer-place.ts';

const AT_FDCWD = -100;
const OPEN_LIMIT = 128;
const LINK_LIMIT = 40;

/** An open directory of the layer (O_PATH) and its path without links; '' is the root. */
export interface Directory {
  readonly fd: number;
  readonly path: string;
}

export interface LayerTreeOptions {
  /** Links that stand in the lower layers where this layer names a directory only in passing. */
  readonly redirects?: ReadonlyMap<string, string>;
  /** Told of each directory that is made because an entry below it came without one of its own; may refuse. */
  readonly implies?: (path: string) => void;
}

/**
 * The directory that a layer is unpacked into, and the only way to a path in it. Directories are opened by openat2
 * with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so the kernel itself keeps a hostile archive inside; where a link
 * stands on the way the kernel follows it with RESOLVE_IN_ROOT. Where something is missing the way is gone here, step by
 * step.
 */
export class LayerTree implements Disposable {
  readonly root: number;
  /** What was noted of paths; the notes of what is replaced go with it. */
  readonly notes = new LayerNotes();
  readonly #options: LayerTreeOptions;
  readonly #open = new Map<string, Directory>();

  constructor(directory: string, options: LayerTreeOptions = {}) {
    const name = Buffer.from(`${directory}\0`);
    this.root = must(openat(AT_FDCWD, name, O_DIRECTORY | flags.O_CLOEXEC, 0), `open ${directory}`);
    this.#options = options;
  }

  [Symbol.dispose](): void {
    this.forget();
    close(this.root);
  }

  /** Directories that were made because an entry below them came without one of their own, parents first. */
  implied(): string[] {
    return [...this.notes].filter(([, { implied }]) => implied).map(([path]) => path);
  }

  /** The directory at these parts; makes those that are missing. Throws InvalidArgument where a file is in the way. */
  directory(parts: readonly string[]): Directory {
    const found = this.#lookup(parts, true);
    if (!found) throw hostile(`no directory can be made at ${shown(parts.join('/'))}`);
    return found;
  }

  /** The directory at these parts, or undefined where there is none in this layer. */
  existing(parts: readonly string[]): Directory | undefined {
    return this.#lookup(parts, false);
  }

  /** What stands at the name, links not followed. */
  stat(at: Directory, name: CName): Stats | undefined {
    return lookAt(at, name);
  }

  /** Takes away what stands at the name, a whole tree too. Open directories but `at` are forgotten where it matters. */
  remove(at: Directory, name: CName, base: string): void {
    const stat = this.stat(at, name);
    if (!stat) return;
    if (!stat.isDirectory()) {
      must(unlinkat(at.fd, name, 0), `replace ${shown(join(at.path, base))}`);
      if (stat.isSymbolicLink()) this.forget(at);
      return;
    }
    removeTreeSync(Buffer.from(`/proc/self/fd/${at.fd}/${base}`, 'latin1'));
    this.notes.drop(join(at.path, base));
    this.forget(at);
  }

  /** Closes the open directories but the one in use: paths may mean something else from now on. */
  forget(but?: Directory): void {
    for (const [key, directory] of this.#open) {
      if (directory === but) continue;
      close(directory.fd);
      this.#open.delete(key);
    }
  }

  #lookup(parts: readonly string[], make: boolean): Directory | undefined {
    const top = { fd: this.root, path: '' };
    if (parts.length === 0) return top;
    const key = parts.join('/');
    const known = this.#open.get(key);
    if (known) {
      this.#open.delete(key);
      this.#open.set(key, known);
      return known;
    }
    const directory = this.#plain(key) ?? this.#linked(key) ?? this.#walked(parts, make);
    if (!directory) return undefined;
    if (directory.path === '') {
      close(directory.fd);
      return top;
    }
    this.#open.set(key, directory);
    if (this.#open.size > OPEN_LIMIT) {
      const [oldest] = this.#open;
      if (oldest) {
        this.#open.delete(oldest[0]);
        close(oldest[1].fd);
      }
    }
    return directory;
  }

  #plain(path: string): Directory | undefined {
    const fd = openDirectoryBeneath(this.root, cName(path));
    return fd < 0 ? undefined : { fd, path };
  }

  /** By way of links that stand in this layer; the path without them is the kernel's own. */
  #linked(key: string): Directory | undefined {
    const fd = openInRoot(this.root, cName(key), flags.O_PATH | O_DIRECTORY);
    if (fd < 0) return undefined;
    try {
      const [root, full] = [this.root, fd].map((one) => readlinkSync(`/proc/self/fd/${one}`, 'latin1'));
      if (full === root) return { fd, path: '' };
      if (full?.startsWith(`${root}/`)) return { fd, path: full.slice((root?.length ?? 0) + 1) };
    } catch {
      // Too long for the kernel to name: it is found by its steps.
    }
    close(fd);
    return undefined;
  }

  /** Goes part by part, follows links inside the root, makes what is missing. */
  #walked(parts: readonly string[], make: boolean): Directory | undefined {
    using here = new Place(this.root);
    const todo = [...parts].reverse();
    let links = 0;
    while (todo.length > 0) {
      const part = todo.pop() ?? '';
      if (part === '' || part === '.') continue;
      if (part === '..') {
        here.up();
        continue;
      }
      const stat = lookAt(here, cName(part));
      const target = this.#targetAt(here, part, stat);
      if (target !== undefined) {
        if (++links > LINK_LIMIT) throw hostile(`too many links on the way to ${shown(parts.join('/'))}`);
        if (target.startsWith('/')) here.top();
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (!stat?.isDirectory()) {
        const isFile = stat && !isWhiteout(stat);
        const path = join(here.path, part);
        if (isFile) throw hostile(`a file is in the way of ${shown(parts.join('/'))}: ${shown(path)}`);
        if (!make) return undefined;
        this.#imply(here, part, stat !== undefined);
      }
      here.down(part);
    }
    const fd = must(openat(here.fd, cName('.'), flags.O_PATH | O_DIRECTORY | flags.O_CLOEXEC, 0), 'open');
    return { fd, path: here.path };
  }

  #targetAt(here: Place, part: string, stat: Stats | undefined): string | undefined {
    if (!stat) return this.#options.redirects?.get(join(here.path, part));
    return stat.isSymbolicLink() ? here.linkAt(part) : undefined;
  }

  #imply(at: Directory, part: string, whiteout: boolean): void {
    const path = join(at.path, part);
    // Nothing stands there yet, but the file that is to be linked will.
    if (this.notes.find(path)?.link) throw hostile(`a hard link is in the way: ${shown(path)}`);
    this.#options.implies?.(path);
    const name = cName(part);
    if (whiteout) must(unlinkat(at.fd, name, 0), `replace whiteout ${shown(path)}`);
    must(mkdirat(at.fd, name, 0o755), `make directory ${shown(path)}`);
    if (whiteout) setOpaque(at, part);
    this.notes.at(path).implied = true;
  }
}
