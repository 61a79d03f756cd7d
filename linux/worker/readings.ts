/**
 * Reads of a namespace worker: all synchronous, each request short, so that requests behind it, such as the making of a
 * pod, never wait long.
 */
import {
  closeSync,
  type Dir,
  existsSync,
  lstatSync,
  opendirSync,
  openSync,
  readlinkSync,
  readSync,
  statSync,
} from 'node:fs';
import { pidsBelow } from '../cgroup/tree.ts';
import type { ProcessStats } from '../ports/stats.ts';

/** Bytes of one file; control files are smaller. */
const MAX_FILE_BYTES = 64 << 10;
/** Descriptors of one group whose kind is read, and processes whose descriptors are counted at all. */
const MAX_DESCRIPTORS = 4096;
const MAX_PROCESSES = 1024;
/** Milliseconds that one slice of a walk may take, about. */
const SLICE_MS = 2;
/** Entries between two reads of the clock. */
const STRIDE = 32;
/** A deeper directory is not entered: each level keeps a descriptor open. */
const MAX_LEVELS = 256;

const buffer = Buffer.allocUnsafe(MAX_FILE_BYTES);

/** The texts in order; undefined for what cannot be read. */
export const readTexts = (paths: readonly string[]): (string | undefined)[] => paths.map(readText);

/** A control file and the hierarchy that has it; an empty root where none is mounted. */
export interface GroupFile {
  readonly root: string;
  readonly name: string;
}

/** The files of each group, one group after another; undefined is what is missing, for a group may vanish at any time. */
export function readGroups(files: readonly GroupFile[], groups: readonly string[]): (string | undefined)[] {
  const roots = new Set(files.map(({ root }) => root));
  return groups.flatMap((group) => {
    // An error costs as much as five reads: a group's existence is checked once in each hierarchy.
    const there = new Set([...roots].filter((root) => root !== '' && existsSync(root + group)));
    return files.map(({ root, name }) => (there.has(root) ? readText(`${root}${group}/${name}`) : undefined));
  });
}

function readText(path: string): string | undefined {
  let fd: number;
  try {
    fd = openSync(path, 'r');
  } catch {
    return undefined;
  }
  try {
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, MAX_FILE_BYTES, 0));
  } catch {
    return undefined; // ENODEV of a group that is being removed, EOPNOTSUPP of PSI that is switched off
  } finally {
    closeSync(fd);
  }
}

/** Of each group's directory and below. */
export function countProcesses(directories: readonly string[], descriptors: boolean): ProcessStats[] {
  return directories.map((directory) => {
    let pids: number[] = [];
    try {
      pids = pidsBelow(directory);
    } catch {
      // Gone meanwhile.
    }
    const counts: Counts = { processes: pids.length, descriptors: 0, sockets: 0, checked: 0 };
    if (descriptors)
      for (const pid of pids.slice(0, MAX_PROCESSES)) addDescriptors(`/proc/${pid}/fd`, counts);
    const { checked: _, ...stats } = counts;
    return stats;
  });
}

interface Counts {
  readonly processes: number;
  descriptors: number;
  sockets: number;
  /** Descriptors whose kind was read. */
  checked: number;
}

function addDescriptors(path: string, counts: Counts): void {
  try {
    // Since Linux 6.2 the directory's size is the number of descriptors; before it is 0.
    const count = statSync(path).size;
    let seen = 0;
    if (counts.checked < MAX_DESCRIPTORS) {
      using directory = closing(opendirSync(path));
      for (let entry = directory.readSync(); entry; entry = directory.readSync()) {
        seen++;
        if (isSocket(`${path}/${entry.name}`)) counts.sockets++;
        if (++counts.checked >= MAX_DESCRIPTORS) break;
      }
    }
    counts.descriptors += Math.max(seen, count);
  } catch {
    // The process has ended.
  }
}

function isSocket(path: string): boolean {
  try {
    return readlinkSync(path).startsWith('socket:');
  } catch {
    return false;
  }
}

export interface WalkState {
  /** Of what was seen so far; a file with several names counts as a part with each. */
  readonly bytes: number;
  readonly inodes: number;
  readonly done: boolean;
}

interface Level extends Disposable {
  readonly path: Buffer;
  readonly directory: Dir;
}

/** A walk through one tree in slices. */
export class Walk implements Disposable {
  readonly #levels: Level[] = [];
  readonly #device: number;
  #bytes = 0;
  #inodes = 0;

  constructor(path: string) {
    const top = Buffer.from(path);
    const stat = lstatSync(top, { throwIfNoEntry: false });
    this.#device = stat?.dev ?? 0;
    if (!stat) return;
    this.#bytes += stat.blocks * 512;
    this.#inodes++;
    if (stat.isDirectory()) this.#enter(top);
  }

  slice(): WalkState {
    const until = performance.now() + SLICE_MS;
    let entries = 0;
    for (let level = this.#levels.at(-1); level; level = this.#levels.at(-1)) {
      // With the encoding `buffer` Node returns names as bytes; its types declare text.
      const entry = level.directory.readSync();
      if (!entry) {
        level[Symbol.dispose]();
        this.#levels.pop();
      } else this.#take(Buffer.concat([level.path, Buffer.from('/'), entry.name as unknown as Buffer]));
      if (++entries % STRIDE === 0 && performance.now() > until) break;
    }
    const done = this.#levels.length === 0;
    return { bytes: this.#bytes, inodes: this.#inodes, done };
  }

  #take(path: Buffer): void {
    try {
      const stat = lstatSync(path);
      if (stat.dev !== this.#device) return;
      this.#bytes += (stat.blocks * 512) / (stat.isDirectory() ? 1 : stat.nlink);
      this.#inodes += 1 / (stat.isDirectory() ? 1 : stat.nlink);
      if (stat.isDirectory() && this.#levels.length < MAX_LEVELS) this.#enter(path);
    } catch {
      // Deleted since the listing.
    }
  }

  #enter(path: Buffer): void {
    const directory = opendirSync(path as unknown as string, { encoding: 'buffer' as BufferEncoding });
    this.#levels.push({ path, directory, [Symbol.dispose]: () => directory.closeSync() });
  }

  [Symbol.dispose](): void {
    for (const level of this.#levels.splice(0)) level[Symbol.dispose]();
  }
}

const closing = (directory: Dir): Dir & Disposable =>
  Object.assign(directory, { [Symbol.dispose]: () => directory.closeSync() });
