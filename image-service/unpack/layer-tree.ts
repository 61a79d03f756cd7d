import { fstatSync, rmSync, type Stats } from 'node:fs';
import {
  type CName,
  close,
  cName,
  flags,
  mkdirat,
  must,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  openDirectoryBeneath,
  readlinkat,
  unlinkat,
} from '#linux/sync.ts';
import { hostile, shown } from './entry.ts';
import { isWhiteout, setOpaque } from './whiteout.ts';

const ENOENT = -2;
const AT_FDCWD = -100;
const OPEN_LIMIT = 128;
const LINK_LIMIT = 40;

/** An open directory of the layer (O_PATH) and its path without links; '' is the root. */
export interface Directory {
  readonly fd: number;
  readonly path: string;
}

/**
 * The directory that a layer is unpacked into, and the only way to a path in it. Directories are opened by openat2
 * with RESOLVE_BENEATH and RESOLVE_NO_SYMLINKS, so the kernel itself keeps a hostile archive inside; where a link
 * stands on the way it is followed here, step by step, inside the layer's root.
 */
export class LayerTree implements Disposable {
  readonly root: number;
  /** Directories that were made because an entry below them came without one of their own, parents first. */
  readonly implied = new Set<string>();
  readonly #open = new Map<string, Directory>();
  /** Links that stand in the lower layers where this layer names a directory only in passing. */
  readonly #redirects: ReadonlyMap<string, string>;

  constructor(directory: string, redirects: ReadonlyMap<string, string> = new Map()) {
    const name = Buffer.from(`${directory}\0`);
    this.root = must(openat(AT_FDCWD, name, O_DIRECTORY | flags.O_CLOEXEC, 0), `open ${directory}`);
    this.#redirects = redirects;
  }

  [Symbol.dispose](): void {
    this.forget();
    close(this.root);
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
    const fd = openat(at.fd, name, flags.O_PATH | O_NOFOLLOW | flags.O_CLOEXEC, 0);
    if (fd === ENOENT) return undefined;
    must(fd, `look at an entry of ${shown(at.path)}`);
    try {
      return fstatSync(fd);
    } finally {
      close(fd);
    }
  }

  /**
   * Takes away what stands at the name, a whole tree too (then true). Open directories may be among it: all but `at`
   * are forgotten.
   */
  remove(at: Directory, name: CName, base: string): boolean {
    const stat = this.stat(at, name);
    if (!stat) return false;
    if (!stat.isDirectory()) {
      must(unlinkat(at.fd, name, 0), `replace ${shown(join(at.path, base))}`);
      if (stat.isSymbolicLink()) this.forget(at);
      return false;
    }
    const path = join(at.path, base);
    rmSync(Buffer.from(`/proc/self/fd/${at.fd}/${base}`, 'latin1'), { recursive: true });
    for (const implied of this.implied) {
      if (implied === path || implied.startsWith(`${path}/`)) this.implied.delete(implied);
    }
    this.forget(at);
    return true;
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
    if (parts.length === 0) return { fd: this.root, path: '' };
    const key = parts.join('/');
    const known = this.#open.get(key);
    if (known) {
      this.#open.delete(key);
      this.#open.set(key, known);
      return known;
    }
    let path: string | undefined = key;
    let fd = openDirectoryBeneath(this.root, cName(key));
    if (fd < 0) {
      path = this.#walk(parts, make);
      if (path === undefined) return undefined;
      if (path === '') return { fd: this.root, path };
      fd = must(openDirectoryBeneath(this.root, cName(path)), `open ${shown(path)} in the layer`);
    }
    const directory = { fd, path };
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

  /** Goes part by part, follows links inside the root, makes what is missing; the path without links. */
  #walk(parts: readonly string[], make: boolean): string | undefined {
    const todo = [...parts].reverse();
    let path = '';
    let links = 0;
    while (todo.length > 0) {
      const part = todo.pop() ?? '';
      if (part === '' || part === '.') continue;
      if (part === '..') {
        path = path.includes('/') ? path.slice(0, path.lastIndexOf('/')) : '';
        continue;
      }
      const here = join(path, part);
      const found = this.#kind(path, part);
      const target =
        found === 'missing'
          ? this.#redirects.get(here)
          : found === 'link'
            ? this.#readLink(path, part)
            : undefined;
      if (target !== undefined) {
        if (++links > LINK_LIMIT) throw hostile(`too many links on the way to ${shown(parts.join('/'))}`);
        if (target.startsWith('/')) path = '';
        todo.push(...target.split('/').reverse());
        continue;
      }
      if (found === 'file')
        throw hostile(`a file is in the way of ${shown(parts.join('/'))}: ${shown(here)}`);
      if (found !== 'directory') {
        if (!make) return undefined;
        this.#imply(path, part, found === 'whiteout');
      }
      path = here;
    }
    return path;
  }

  #kind(path: string, part: string): 'missing' | 'link' | 'directory' | 'whiteout' | 'file' {
    using at = this.#hold(path);
    const stat = this.stat(at, cName(part));
    if (!stat) return 'missing';
    if (stat.isDirectory()) return 'directory';
    if (stat.isSymbolicLink()) return 'link';
    return isWhiteout(stat) ? 'whiteout' : 'file';
  }

  #readLink(path: string, part: string): string {
    using at = this.#hold(path);
    const buffer = Buffer.alloc(4096);
    const length = must(
      readlinkat(at.fd, cName(part), buffer, buffer.length),
      `read link ${shown(join(path, part))}`,
    );
    return buffer.toString('latin1', 0, length);
  }

  #imply(path: string, part: string, whiteout: boolean): void {
    using at = this.#hold(path);
    const name = cName(part);
    if (whiteout) must(unlinkat(at.fd, name, 0), `replace whiteout ${shown(join(path, part))}`);
    must(mkdirat(at.fd, name, 0o755), `make directory ${shown(join(path, part))}`);
    if (whiteout) setOpaque(at, part);
    this.implied.add(join(path, part));
  }

  #hold(path: string): Directory & Disposable {
    if (path === '') return { fd: this.root, path, [Symbol.dispose]() {} };
    const fd = must(openDirectoryBeneath(this.root, cName(path)), `open ${shown(path)} in the layer`);
    return { fd, path, [Symbol.dispose]: () => void close(fd) };
  }
}

export const join = (path: string, part: string): string => (path === '' ? part : `${path}/${part}`);
