import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { errnoOf, hasCode } from '#core/errors.ts';
import { CgroupMoves } from './cgroup-moves.ts';
import {
  isMissing,
  pauseBeforeRetry,
  pidsBelow,
  readControl,
  refuseSuicide,
  removeGroup,
  safeFile,
  safeGroup,
  signalPids,
  writeControl,
} from './cgroup-tree.ts';
import { fromNode, refused } from './errno.ts';
import { Inotify } from './inotify.ts';
import type { Cgroups } from './kernel.ts';

const SIGKILL = 9;
/** The controllers that crisp hands down to pods and containers. */
const wanted = new Set(['cpuset', 'cpu', 'io', 'memory', 'pids', 'hugetlb', 'rdma', 'misc']);
/** The longest trust in inotify: after it the group is looked at again. */
const LOOK_AGAIN_MS = 200;
/** The same where there is no inotify. */
const UNWATCHED_MS = 10;

/** Cgroups version 2: one tree. */
export class CgroupsV2 implements Cgroups {
  readonly version = 2;
  readonly controllers: ReadonlySet<string>;
  readonly #root: string;
  readonly #moves: CgroupMoves;
  readonly #inotify: Pick<Inotify, 'watch' | 'forget'>;

  /** `root` is the mount point of cgroup2. */
  constructor(root: string, inotify: Pick<Inotify, 'watch' | 'forget'> = new Inotify({ warn() {} })) {
    this.#root = root;
    this.#inotify = inotify;
    this.#moves = new CgroupMoves(root, '');
    this.controllers = new Set(words(readControl(join(root, 'cgroup.controllers'))));
  }

  #at(path: string): string {
    return join(this.#root, safeGroup(path));
  }

  async create(path: string): Promise<void> {
    let at = this.#root;
    for (const part of safeGroup(path).split('/').slice(1)) {
      await handDown(at);
      at = join(at, part);
      await makeGroup(at);
    }
  }

  async createChild(path: string): Promise<void> {
    await makeGroup(this.#at(path));
  }

  async join(path: string, pid: number): Promise<void> {
    await writeControl(join(this.#at(path), 'cgroup.procs'), `${pid}`);
  }

  expectMoves(forMs: number): void {
    this.#moves.expect(forMs);
  }

  entrance(path: string): string[] {
    return [join(this.#at(path), 'cgroup.procs')];
  }

  processes(path: string): number[] {
    return pidsBelow(this.#at(path));
  }

  async kill(path: string, signal: AbortSignal): Promise<void> {
    const directory = this.#at(path);
    refuseSuicide(path, pidsBelow(directory));
    for (let attempt = 0; populated(directory); attempt++) {
      await killOnce(directory);
      if (await emptied(directory, this.#inotify, signal)) return;
      await pauseBeforeRetry(attempt, signal, () => {
        return `kill cgroup ${path}: processes ${pidsBelow(directory).join(' ')} are left`;
      });
    }
  }

  signalAll(path: string, signal: number): void {
    signalPids(this.processes(path), signal);
  }

  async remove(path: string, signal: AbortSignal): Promise<void> {
    await removeGroup(this.#at(path), signal);
  }

  file(path: string, name: string): string | undefined {
    return join(this.#at(path), safeFile(name));
  }

  read(path: string, file: string): string | undefined {
    return readControl(join(this.#at(path), safeFile(file)));
  }

  async write(path: string, file: string, value: string): Promise<void> {
    await writeControl(join(this.#at(path), safeFile(file)), value);
  }

  exists(path: string): boolean {
    return existsSync(this.#at(path));
  }

  directories(path: string): string[] {
    const directory = this.#at(path);
    return existsSync(directory) ? [directory] : [];
  }

  /** memory.events counts those of the groups below as well. */
  oomKills(path: string): number {
    const events = readControl(join(this.#at(path), 'memory.events')) ?? '';
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }
}

const words = (text: string | undefined): string[] => (text ?? '').split(/\s+/).filter((word) => word !== '');

/** Whether a process that is not a zombie is in the group or below it. */
const populated = (directory: string): boolean =>
  /^populated 1$/m.test(readControl(join(directory, 'cgroup.events')) ?? '');

async function makeGroup(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) !== 'EEXIST') throw fromNode(error, `make cgroup ${directory}`);
  }
}

/** Enables in a group's children what the group itself has. */
async function handDown(directory: string): Promise<void> {
  const enabled = new Set(words(readControl(join(directory, 'cgroup.subtree_control'))));
  const available = words(readControl(join(directory, 'cgroup.controllers')));
  const missing = available.filter((name) => wanted.has(name) && !enabled.has(name));
  if (missing.length === 0) return;
  const file = join(directory, 'cgroup.subtree_control');
  try {
    await writeControl(file, missing.map((name) => `+${name}`).join(' '));
  } catch (error) {
    if (errnoOf(error) !== 'EBUSY') throw error;
    throw refused(`enable ${missing.join(' ')} in ${file}`, 'EBUSY', 'processes stand in the group itself');
  }
}

/** cgroup.kill is of Linux 5.14; before it, a frozen group is killed process by process. */
async function killOnce(directory: string): Promise<void> {
  try {
    await writeControl(join(directory, 'cgroup.kill'), '1');
  } catch (error) {
    if (!hasCode(error, 'NotFound') || !existsSync(directory)) {
      if (isMissing(error)) return;
      throw error;
    }
    const freeze = join(directory, 'cgroup.freeze');
    await writeControl(freeze, '1');
    signalPids(pidsBelow(directory), SIGKILL);
    await writeControl(freeze, '0');
  }
}

/** Waits for the group to become empty; false where the time to look again has come. */
async function emptied(
  directory: string,
  inotify: Pick<Inotify, 'watch' | 'forget'>,
  signal: AbortSignal,
): Promise<boolean> {
  if (!populated(directory)) return true;
  const { promise, resolve } = Promise.withResolvers<void>();
  try {
    // The watch stands before the second look, so that no change falls between.
    using watch = inotify.watch(
      'cgroups',
      join(directory, 'cgroup.events'),
      () => !populated(directory) && resolve(),
    );
    const pause = watch ? LOOK_AGAIN_MS : UNWATCHED_MS;
    if (populated(directory))
      await Promise.race([promise, sleep(pause, undefined, { signal }).catch(() => {})]);
  } catch (error) {
    if (!isMissing(error)) throw error;
  } finally {
    inotify.forget('cgroups');
  }
  return !populated(directory);
}
