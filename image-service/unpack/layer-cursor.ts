import { fstatSync, type Stats } from 'node:fs';
import {
  type CName,
  close,
  cName,
  flags,
  must,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  openDirectoryBeneath,
  readlinkat,
} from '#linux/fs/at-syscalls.ts';
import { shown } from './entry.ts';

const ENOENT = -2;
const STEP = flags.O_PATH | O_DIRECTORY | O_NOFOLLOW | flags.O_CLOEXEC;

export const join = (path: string, part: string): string => (path === '' ? part : `${path}/${part}`);

/** The entry of a name, symlinks not followed; undefined where there is nothing. */
export function statAt(at: { readonly fd: number; readonly path: string }, name: CName): Stats | undefined {
  const fd = openat(at.fd, name, flags.O_PATH | O_NOFOLLOW | flags.O_CLOEXEC, 0);
  if (fd === ENOENT) return undefined;
  must(fd, `stat an entry of ${shown(at.path)}`);
  try {
    return fstatSync(fd);
  } finally {
    close(fd);
  }
}

/**
 * A position in a layer that descends by one component at a time, so that a path of n components costs n steps. `path` has
 * no symlinks; '' is the root.
 */
export class LayerCursor implements Disposable {
  readonly #root: number;
  #fd: number;
  #path = '';

  constructor(root: number) {
    this.#root = root;
    this.#fd = root;
  }

  get fd(): number {
    return this.#fd;
  }

  get path(): string {
    return this.#path;
  }

  [Symbol.dispose](): void {
    this.#move(this.#root, '');
  }

  /** Enters a directory of this one. */
  down(part: string): void {
    const path = join(this.#path, part);
    this.#move(must(openat(this.#fd, cName(part), STEP, 0), `open ${shown(path)} in the layer`), path);
  }

  /** Goes up by one, at most to the root. */
  up(): void {
    const path = this.#path.includes('/') ? this.#path.slice(0, this.#path.lastIndexOf('/')) : '';
    if (path === '') this.top();
    else
      this.#move(
        must(openDirectoryBeneath(this.#root, cName(path)), `open ${shown(path)} in the layer`),
        path,
      );
  }

  top(): void {
    this.#move(this.#root, '');
  }

  /** The target of a symlink of this directory. */
  linkAt(part: string): string {
    const buffer = Buffer.alloc(4096);
    const what = `read link ${shown(join(this.#path, part))}`;
    return buffer.toString('latin1', 0, must(readlinkat(this.#fd, cName(part), buffer, buffer.length), what));
  }

  #move(fd: number, path: string): void {
    const before = this.#fd;
    this.#fd = fd;
    this.#path = path;
    if (before !== this.#root) close(before);
  }
}
