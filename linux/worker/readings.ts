/**
 * Reads of the thread that visits namespaces: all synchronous, each request short, so that the making of a pod, which
 * the same thread does, never waits long.
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
const MOST = 64 << 10;
/** Descriptors of one group that are looked at one by one, and processes whose descriptors are counted at all. */
const MOST_DESCRIPTORS = 4096;
const MOST_PROCESSES = 1024;
/** Milliseconds that one slice of a walk may take, about. */
const SLICE_MS = 2;
/** Entries between two looks at the clock. */
const STRIDE = 32;
/** A deeper directory is not entered: each level keeps a descriptor open. */
const MOST_LEVELS = 256;

const buffer = Buffer.allocUnsafe(MOST);

/** The texts in order; whatever cannot be read is undefined. */
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
    // An error costs as much as five reads: a group is looked for once in each hierarchy.
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
    return buffer.toString('latin1', 0, readSync(fd, buffer, 0, MOST, 0));
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
    const figures: Figures = { processes: pids.length, descriptors: 0, sockets: 0, looked: 0 };
    if (descriptors)
      for (const pid of pids.slice(0, MOST_PROCESSES)) addDescriptors(`/proc/${pid}/fd`, figures);
    const { looked: _, ...told } = figures;
    return told;
  });
}

interface Figures {
  readonly processes: number;
  descriptors: number;
  sockets: number;
  /** Descriptors that were looked at. */
  looked: number;
}

function addDescriptors(path: string, figures: Figures): void {
  try {
    // Since Linux 6.2 the directory's size is the number of descriptors; before it is 0.
    const count = statSync(path).size;
    let seen = 0;
    if (figures.looked < MOST_DESCRIPTORS) {
      using directory = closing(opendirSync(path));
      for (let entry = directory.readSync(); entry; entry = directory.readSync()) {
        seen++;
        if (isSocket(`${path}/${entry.name}`)) figures.sockets++;
        if (++figures.looked >= MOST_DESCRIPTORS) break;
      }
    }
    figures.descriptors += Math.max(seen, count);
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

/** A walk through one tree that is carried on slice by slice. */
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
      // Node hands names on as bytes where it is asked for them; its types say text.
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
      if (stat.isDirectory() && this.#levels.length < MOST_LEVELS) this.#enter(path);
    } catch {
      // Vanished between the listing and the look.
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
