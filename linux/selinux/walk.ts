/**
 * Labels of a tree, for the thread that relabels. All in it belongs to a container, which may change it meanwhile: each entry
 * is opened below its directory, the kernel refusing links and mounts (openat2(2)), and labelled through what was opened.
 */
import { fsyncSync } from 'node:fs';
import { errnoOf } from '#core/errors.ts';
import {
  type CName,
  close,
  cName,
  flags,
  getdents,
  getXattrOf,
  must,
  O_DIRECTORY,
  O_NOFOLLOW,
  openat,
  openChild,
  setXattrOf,
} from '../fs/at-syscalls.ts';
import { fromNode, refused } from '../libc/errno.ts';
import { AT_FDCWD } from '../libc/libc.ts';
import type { RelabelOutcome, RelabelProgress, RelabelTree } from '../ports/selinux.ts';

const ATTRIBUTE = cName('security.selinux');
const LABEL_LIMIT = 4096;
/** A descriptor is open for each directory on the way. */
const MAX_DEPTH = 1000;
/** Bytes of entries that are read at one time. */
const PORTION = 32 << 10;

const ENOENT = 2;
const EXDEV = 18;
const ENOTDIR = 20;
const ENODATA = 61;
const ENOTSUP = 95;

/**
 * Relabels what is at a path, the root last: see `RelabelTree`. A parent's entry may go while it is looked at. `step` is called
 * before each entry, and may throw to end the walk.
 */
export function relabelTree(
  { path, label, interim }: RelabelTree,
  step: (progress: RelabelProgress) => void,
): RelabelOutcome {
  const name = cName(Buffer.from(path).toString('latin1'));
  const root = must(openat(AT_FDCWD, name, flags.O_PATH | O_NOFOLLOW | flags.O_CLOEXEC, 0), `open ${path}`);
  try {
    const walk = new Walk(label, step);
    walk.begin(root, interim, path);
    walk.directory(root, path, 0);
    walk.entry(root, path);
    return { kind: 'labelled', ...walk.progress };
  } catch (error) {
    if (error === UNSUPPORTED) return { kind: 'unsupported' };
    throw error;
  } finally {
    close(root);
  }
}

/** Thrown where the file system, of which the walk leaves none, takes no labels. */
const UNSUPPORTED = Symbol('unsupported');

/** As libselinux writes it. */
const withNul = (label: string): Buffer => Buffer.from(`${label}\0`, 'latin1');

class Walk {
  readonly #label: string;
  readonly #value: Buffer;
  readonly #step: (progress: RelabelProgress) => void;
  readonly #found = Buffer.alloc(LABEL_LIMIT);
  #entries = 0;
  #changed = 0;

  constructor(label: string, step: (progress: RelabelProgress) => void) {
    this.#label = label;
    this.#value = withNul(label);
    this.#step = step;
  }

  get progress(): RelabelProgress {
    return { entries: this.#entries, changed: this.#changed };
  }

  /**
   * The root's interim label, flushed before anything below it changes: a file system may write changes of several files in
   * another order.
   */
  begin(root: number, interim: string, what: string): void {
    if (!this.#has(root, interim, what)) this.#set(root, interim, what);
    const fd = openat(root, cName('.'), flags.O_RDONLY | O_DIRECTORY | flags.O_CLOEXEC, 0);
    if (fd === -ENOTDIR) return;
    must(fd, `open ${what}`);
    try {
      fsyncSync(fd);
    } catch (error) {
      // A file system in memory.
      if (errnoOf(error) !== 'EINVAL') throw fromNode(error, `flush the label of ${what}`);
    } finally {
      close(fd);
    }
  }

  /** Labels what is open. */
  entry(fd: number, what: string): void {
    this.#step(this.progress);
    this.#entries++;
    if (this.#has(fd, this.#label, what)) return;
    this.#set(fd, this.#label, what);
    this.#changed++;
  }

  #has(fd: number, label: string, what: string): boolean {
    const length = getXattrOf(fd, ATTRIBUTE, this.#found);
    if (length === -ENODATA) return false;
    if (length === -ENOTSUP) throw UNSUPPORTED;
    must(length, `read the label of ${what}`);
    return this.#found.toString('latin1', 0, length).replace(/\0$/, '') === label;
  }

  #set(fd: number, label: string, what: string): void {
    const value = label === this.#label ? this.#value : withNul(label);
    const result = setXattrOf(fd, ATTRIBUTE, value);
    if (result === -ENOTSUP) throw UNSUPPORTED;
    must(result, `set the label of ${what} to ${label}`);
  }

  /** Labels all in a directory; of another kind of file there is nothing to do. */
  directory(parent: number, what: string, depth: number): void {
    const fd = openat(parent, cName('.'), flags.O_RDONLY | O_DIRECTORY | flags.O_CLOEXEC, 0);
    if (fd === -ENOTDIR) return;
    must(fd, `open ${what}`);
    try {
      if (depth > MAX_DEPTH)
        throw refused(`label ${what}`, 'ELOOP', `more than ${MAX_DEPTH} directories deep`);
      const buffer = Buffer.alloc(PORTION);
      for (;;) {
        const length = must(getdents(fd, buffer), `read ${what}`);
        if (length === 0) return;
        for (const name of namesIn(buffer, length)) this.#child(fd, name, what, depth);
      }
    } finally {
      close(fd);
    }
  }

  #child(directory: number, name: CName, parent: string, depth: number): void {
    const fd = openChild(directory, name);
    if (fd === -ENOENT || fd === -EXDEV) return;
    const what = `${parent}/${Buffer.from(name.subarray(0, -1)).toString()}`;
    must(fd, `open ${what}`);
    try {
      this.entry(fd, what);
      this.directory(fd, what, depth + 1);
    } finally {
      close(fd);
    }
  }
}

const LENGTH_AT = 16;
const NAME_AT = 19;

/** The names of linux_dirent64 records, with the NUL that ends each; without the directory itself and its parent. */
function namesIn(buffer: Buffer, length: number): CName[] {
  const names: CName[] = [];
  for (let at = 0; at < length; at += buffer.readUInt16LE(at + LENGTH_AT)) {
    const start = at + NAME_AT;
    const name = Buffer.from(buffer.subarray(start, buffer.indexOf(0, start) + 1));
    const text = name.toString('latin1');
    if (text !== '.\0' && text !== '..\0') names.push(name);
  }
  return names;
}
