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
  openat,
  openChild,
  removeXattrOf,
  setXattrOf,
} from '../fs/at-syscalls.ts';
import { fromNode, refused } from '../libc/errno.ts';
import type { RelabelOutcome, RelabelProgress, RelabelTree } from '../ports/selinux.ts';
import { withRootSync } from './root.ts';
import { unfinished } from './unfinished.ts';

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
export function relabelTree(tree: RelabelTree, step: (progress: RelabelProgress) => void): RelabelOutcome {
  return withRootSync(tree, (root) => new Walk(tree, step).run(root));
}

/** As libselinux writes it. */
const withNul = (label: string): Buffer => Buffer.from(`${label}\0`, 'latin1');
/** Of a file whose attribute is not there. The kernel with SELinux in use has one for every file. */
const NO_LABEL = '';

class Walk {
  readonly #tree: RelabelTree;
  readonly #value: Buffer;
  readonly #step: (progress: RelabelProgress) => void;
  readonly #found = Buffer.alloc(LABEL_LIMIT);
  #entries = 0;
  #changed = 0;
  #unsupported = 0;

  constructor(tree: RelabelTree, step: (progress: RelabelProgress) => void) {
    this.#tree = tree;
    this.#value = withNul(tree.label);
    this.#step = step;
  }

  run(root: number): RelabelOutcome {
    if (!this.#entry(root, this.#tree.path, 0)) return { kind: 'unsupported' };
    this.#entries++;
    const unsupported = this.#unsupported;
    return { kind: 'labelled', ...this.#progress, ...(unsupported > 0 ? { unsupported } : {}) };
  }

  get #progress(): RelabelProgress {
    return { entries: this.#entries, changed: this.#changed };
  }

  /** Labels what is open, a directory after all in it. False where it takes no label. */
  #entry(fd: number, what: string, depth: number): boolean {
    const opened = openat(fd, cName('.'), flags.O_RDONLY | O_DIRECTORY | flags.O_CLOEXEC, 0);
    if (opened === -ENOTDIR) return this.#label(fd, what);
    must(opened, `open ${what}`);
    try {
      if (depth > MAX_DEPTH)
        throw refused(`label ${what}`, 'ELOOP', `more than ${MAX_DEPTH} directories deep`);
      return this.#directory(fd, opened, what, depth);
    } finally {
      close(opened);
    }
  }

  /**
   * A directory has the interim label from before the first change below it until all below it has the label: a container that
   * has mounted only that directory (subPath) has it as the root of its volume. One that has the label keeps it: it says no less
   * after each change below it than before.
   *
   * Over a power cut: ext4, XFS and Btrfs write extended attributes in the order in which they were set, so what they have then
   * is what the walk had at some time. Of others only the root is sure, whose interim label is flushed. Flushing that of each
   * directory would cost a write of the journal for each, hours for a volume with a million of them.
   */
  #directory(fd: number, opened: number, what: string, depth: number): boolean {
    const { label, interim } = this.#tree;
    const former = this.#labelOf(fd, what);
    const isMarked = former !== undefined && former !== label;
    const isRoot = depth === 0;
    // The root is asked even if it has it: a volume may be mounted with that label for all its files, and take no other.
    const isSupported = isMarked
      ? (former === interim && !isRoot) ||
        this.#set(fd, withNul(interim), `set the label of ${what} to ${interim}`)
      : former !== undefined;
    if (isRoot && !isSupported) return false;
    const before = this.#changed;
    try {
      if (isRoot && isMarked) flush(opened, what);
      this.#contents(opened, what, depth);
      if (isSupported && !this.#label(fd, what)) throw refused(`set the label of ${what}`, 'ENOTSUP');
      return isSupported;
    } catch (error) {
      if (!isMarked || !isSupported) throw error;
      if (this.#changed === before && former !== interim && putBack(fd, former)) throw error;
      throw isRoot ? unfinished(error, this.#tree) : error;
    }
  }

  #contents(opened: number, what: string, depth: number): void {
    const buffer = Buffer.alloc(PORTION);
    for (;;) {
      const length = must(getdents(opened, buffer), `read ${what}`);
      if (length === 0) return;
      for (const name of namesIn(buffer, length)) this.#child(opened, name, what, depth + 1);
    }
  }

  #child(directory: number, name: CName, parent: string, depth: number): void {
    const fd = openChild(directory, name);
    if (fd === -ENOENT || fd === -EXDEV) return;
    const what = `${parent}/${Buffer.from(name.subarray(0, -1)).toString()}`;
    must(fd, `open ${what}`);
    try {
      this.#step(this.#progress);
      this.#entries++;
      if (!this.#entry(fd, what, depth)) this.#unsupported++;
    } finally {
      close(fd);
    }
  }

  /** False where the file takes no label. */
  #label(fd: number, what: string): boolean {
    const { label } = this.#tree;
    const found = this.#labelOf(fd, what);
    if (found === label || found === undefined) return found !== undefined;
    if (!this.#set(fd, this.#value, `set the label of ${what} to ${label}`)) return false;
    this.#changed++;
    return true;
  }

  /** Undefined where the file takes no label. */
  #labelOf(fd: number, what: string): string | undefined {
    const length = getXattrOf(fd, ATTRIBUTE, this.#found);
    if (length === -ENODATA) return NO_LABEL;
    if (length === -ENOTSUP) return undefined;
    must(length, `read the label of ${what}`);
    return this.#found.toString('latin1', 0, length).replace(/\0$/, '');
  }

  #set(fd: number, value: Buffer, what: string): boolean {
    const result = setXattrOf(fd, ATTRIBUTE, value);
    if (result === -ENOTSUP) return false;
    must(result, what);
    return true;
  }
}

/** Before anything below it changes: a file system may write changes of several files in another order. */
function flush(fd: number, what: string): void {
  try {
    fsyncSync(fd);
  } catch (error) {
    // A file system in memory.
    if (errnoOf(error) !== 'EINVAL') throw fromNode(error, `flush the label of ${what}`);
  }
}

/** Gives a directory in which nothing was changed the label that it had. False where that is refused. */
const putBack = (fd: number, former: string): boolean =>
  (former === NO_LABEL ? removeXattrOf(fd, ATTRIBUTE) : setXattrOf(fd, ATTRIBUTE, withNul(former))) >= 0;

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
