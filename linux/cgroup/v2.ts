import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError, describeError, errnoOf, hasCode } from '#core/errors.ts';
import { RealInotify } from '../fs/inotify.ts';
import { fromNode } from '../libc/errno.ts';
import type { Inotify } from '../ports/inotify.ts';
import type { Cgroups } from '../ports/kernel.ts';
import type { Trouble } from '../ports/troubles.ts';
import { enableForChildren, threaded, words } from './delegation.ts';
import { TaskMigration } from './task-migration.ts';
import {
  groupsNamed,
  isMissing,
  pauseBeforeRetry,
  pidsBelow,
  readControl,
  refuseOwnCgroup,
  removeGroup,
  safeFile,
  safeGroup,
  signalPids,
  writeControl,
} from './tree.ts';

const SIGKILL = 9;
/** The poll interval besides inotify. */
const WATCHED_POLL_MS = 200;
/** The same where there is no inotify. */
const UNWATCHED_POLL_MS = 10;
/** The interval at which `prepare` is retried while no pod can be made, in ms. */
const RETRY_MS = 5000;

export interface CgroupsV2Options {
  readonly inotify?: Pick<Inotify, 'watch' | 'forget'>;
  /** Whether the root is that of a container's cgroup namespace: its processes may be moved into a leaf. */
  readonly delegated?: boolean;
}

/** Cgroups version 2: one tree. */
export class CgroupsV2 implements Cgroups {
  readonly version = 2;
  readonly #controllers: Set<string>;
  readonly #root: string;
  readonly #options: CgroupsV2Options;
  /** Controllers that cannot be enabled for children, with group and errno. */
  readonly #refused = new Map<string, string>();
  /** Why no pod can be made. */
  #failure: unknown;
  #prepared = '';
  #checkedAt = 0;
  readonly #moves: TaskMigration;
  readonly #inotify: Pick<Inotify, 'watch' | 'forget'>;

  /** `root` is the mount point of cgroup2. */
  constructor(root: string, options: CgroupsV2Options = {}) {
    this.#root = root;
    this.#options = options;
    this.#inotify = options.inotify ?? new RealInotify({ warn() {} });
    this.#moves = new TaskMigration(root, '');
    this.#controllers = new Set(words(readControl(join(root, 'cgroup.controllers'))));
  }

  get controllers(): ReadonlySet<string> {
    return this.#controllers;
  }

  #at(path: string): string {
    return join(this.#root, safeGroup(path));
  }

  async create(path: string): Promise<void> {
    let at = this.#root;
    for (const part of safeGroup(path).split('/').slice(1)) {
      await this.#enableForChildren(at);
      at = join(at, part);
      await makeGroup(at);
    }
  }

  async #enableForChildren(directory: string): Promise<void> {
    const ours = directory === this.#root && this.#options.delegated === true;
    for (const [name, errno] of await enableForChildren(directory, ours)) {
      if (this.#refused.has(name)) continue;
      this.#refused.set(name, `${name} in ${directory}: ${errno}`);
      // A limit of it is then refused with its name, instead of an error about a missing control file.
      if (directory === this.#root || directory === join(this.#root, this.#prepared))
        this.#controllers.delete(name);
    }
  }

  async prepare(path: string): Promise<void> {
    this.#prepared = path;
    this.#checkedAt = performance.now();
    try {
      await this.create(path);
      await this.#enableForChildren(this.#at(path));
      this.#failure = undefined;
    } catch (error) {
      this.#failure = error;
    }
  }

  get trouble(): Trouble | undefined {
    if (this.#failure !== undefined) {
      if (performance.now() - this.#checkedAt > RETRY_MS) void this.prepare(this.#prepared);
      const hint = this.#failure instanceof CrispError ? this.#failure.hint : 'see the log of the daemon';
      return { reason: 'CgroupsUnusable', message: describeError(this.#failure), hint, podsFail: true };
    }
    if (this.#refused.size === 0) return undefined;
    const message = `cgroup controllers cannot be enabled for children, their limits are refused: ${[...this.#refused.values()].join(', ')}`;
    const hint =
      'see the kernel log; for cpu: no process with a real-time policy may be outside of the root group; then restart the daemon';
    return { reason: 'CgroupControllersMissing', message, hint, podsFail: false };
  }

  async createChild(path: string): Promise<void> {
    await makeGroup(this.#at(path));
  }

  async join(path: string, pid: number): Promise<void> {
    await writeControl(join(this.#at(path), 'cgroup.procs'), `${pid}`);
  }

  expectTaskMigration(forMs: number): void {
    this.#moves.expect(forMs);
  }

  joinFiles(path: string): string[] {
    return [join(this.#at(path), 'cgroup.procs')];
  }

  processes(path: string): number[] {
    return pidsBelow(this.#at(path));
  }

  async kill(path: string, signal: AbortSignal): Promise<void> {
    const directory = this.#at(path);
    refuseOwnCgroup(path, pidsBelow(directory));
    for (let attempt = 0; populated(directory); attempt++) {
      await killOnce(directory);
      if (await emptied(directory, this.#inotify, signal)) return;
      await pauseBeforeRetry(attempt, signal, () => {
        return `kill cgroup ${path}: processes ${pidsBelow(directory).join(' ')} remain`;
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

  find(name: string): string[] {
    return groupsNamed(this.#root, name);
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

/** Whether a process that is not a zombie is in the group or below it. */
const populated = (directory: string): boolean =>
  /^populated 1$/m.test(readControl(join(directory, 'cgroup.events')) ?? '');

async function makeGroup(directory: string): Promise<void> {
  try {
    await mkdir(directory, { mode: 0o755 });
  } catch (error) {
    if (errnoOf(error) === 'EEXIST') return;
    throw fromNode(error, `make cgroup ${directory}`);
  }
  // A group made below a threaded one cannot contain processes.
  if (readControl(join(directory, 'cgroup.type')) === 'domain invalid') throw threaded(dirname(directory));
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

/** Waits for the group to become empty; false after one poll interval. */
async function emptied(
  directory: string,
  inotify: Pick<Inotify, 'watch' | 'forget'>,
  signal: AbortSignal,
): Promise<boolean> {
  if (!populated(directory)) return true;
  const { promise, resolve } = Promise.withResolvers<void>();
  try {
    // The watch is set before the second read, so that no change is missed in between.
    using watch = inotify.watch(
      'cgroups',
      join(directory, 'cgroup.events'),
      () => !populated(directory) && resolve(),
    );
    const pause = watch ? WATCHED_POLL_MS : UNWATCHED_POLL_MS;
    if (populated(directory))
      await Promise.race([promise, sleep(pause, undefined, { signal }).catch(() => {})]);
  } catch (error) {
    if (!isMissing(error)) throw error;
  } finally {
    inotify.forget('cgroups');
  }
  return !populated(directory);
}
