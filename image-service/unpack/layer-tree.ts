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
import { join, LayerCursor, statAt } from './layer-cursor.ts';
import { LayerNotes } from './layer-notes.ts';
import { isWhiteout, setOpaque } from './whiteout.ts';

export { join } from './layer-cursor.ts';

const AT_FDCWD = -100;
const OPEN_LIMIT = 128;
const LINK_LIMIT = 40;

/** An open directory of the layer (O_PATH) and its path without links; '' is the root. */
export interface Directory {
  readonly fd: number;
  readonly path: string;
}

export interface LayerTreeOptions {
  /** Symlinks of the lower layers at paths where this layer only implies a directory. */
  readonly redirects?: ReadonlyMap<string, string>;
  /** Called for each directory that is created because an entry below it came without its own entry; may throw. */
  readonly implies?: (path: string) => void;
}

/**
 * The directory that a layer is unpacked into, and the only access to a path in it. Directories are opened by openat2
 * with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so the kernel itself keeps a hostile archive inside; where a path has a
 * symlink the kernel follows it with RESOLVE_IN_ROOT. Where something is missing the path is walked here, step by step.
 */
export class LayerTree implements Disposable {
  readonly root: number;
  /** The notes of paths; those of replaced entries are dropped. */
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

  /** Directories that were created because an entry below them came without their own entry, parents first. */
  implied(): string[] {
    return [...this.notes].filter(([, { implied }]) => implied).map(([path]) => path);
  }

  /** The directory at these parts; creates those that are missing. Throws InvalidArgument where a file blocks the path. */
  directory(parts: readonly string[]): Directory {
    const found = this.#lookup(parts, true);
    if (!found) throw hostile(`a directory cannot be created at ${shown(parts.join('/'))}`);
    return found;
  }

  /** The directory at these parts, or undefined where there is none in this layer. */
  existing(parts: readonly string[]): Directory | undefined {
    return this.#lookup(parts, false);
  }

  /** The entry of the name, symlinks not followed. */
  stat(at: Directory, name: CName): Stats | undefined {
    return statAt(at, name);
  }

  /** Removes the entry of the name, also a whole tree. Cached open directories other than `at` are closed if necessary. */
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

  /** Closes the cached directories except the one in use: paths may have changed. */
  forget(except?: Directory): void {
    for (const [key, directory] of this.#open) {
      if (directory === except) continue;
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

  /** Through symlinks of this layer; the kernel gives the path without them. */
  #linked(key: string): Directory | undefined {
    const fd = openInRoot(this.root, cName(key), flags.O_PATH | O_DIRECTORY);
    if (fd < 0) return undefined;
    try {
      const [root, full] = [this.root, fd].map((one) => readlinkSync(`/proc/self/fd/${one}`, 'latin1'));
      if (full === root) return { fd, path: '' };
      if (full?.startsWith(`${root}/`)) return { fd, path: full.slice((root?.length ?? 0) + 1) };
    } catch {
      // The path is too long for readlink: it is walked.
    }
    close(fd);
    return undefined;
  }

  /** Walks the components, follows symlinks inside the root, creates what is missing. */
  #walked(parts: readonly string[], make: boolean): Directory | undefined {
    using here = new LayerCursor(this.root);
    const todo = [...parts].reverse();
    let links = 0;
    while (todo.length > 0) {
      const part = todo.pop() ?? '';
      if (part === '' || part === '.') continue;
      if (part === '..') {
        here.up();
        continue;
      }
      const stat = statAt(here, cName(part));
      const target = this.#targetAt(here, part, stat);
      if (target !== undefined) {
        if (++links > LINK_LIMIT) throw hostile(`too many symlinks in ${shown(parts.join('/'))}`);
        if (target.startsWith('/')) here.top();
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (!stat?.isDirectory()) {
        const isFile = stat && !isWhiteout(stat);
        const path = join(here.path, part);
        if (isFile) throw hostile(`a file blocks the path ${shown(parts.join('/'))}: ${shown(path)}`);
        if (!make) return undefined;
        this.#imply(here, part, stat !== undefined);
      }
      here.down(part);
    }
    const fd = must(openat(here.fd, cName('.'), flags.O_PATH | O_DIRECTORY | flags.O_CLOEXEC, 0), 'open');
    return { fd, path: here.path };
  }

  #targetAt(here: LayerCursor, part: string, stat: Stats | undefined): string | undefined {
    if (!stat) return this.#options.redirects?.get(join(here.path, part));
    return stat.isSymbolicLink() ? here.linkAt(part) : undefined;
  }

  #imply(at: Directory, part: string, whiteout: boolean): void {
    const path = join(at.path, part);
    // Nothing is there yet, but a hard link will be created there.
    if (this.notes.find(path)?.link) throw hostile(`a hard link blocks the path: ${shown(path)}`);
    this.#options.implies?.(path);
    const name = cName(part);
    if (whiteout) must(unlinkat(at.fd, name, 0), `replace whiteout ${shown(path)}`);
    must(mkdirat(at.fd, name, 0o755), `make directory ${shown(path)}`);
    if (whiteout) setOpaque(at, part);
    this.notes.at(path).implied = true;
  }
}
