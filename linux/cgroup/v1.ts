/**
 * Cgroups version 1, also where it is mixed with a cgroup2 tree. A group is one directory in each hierarchy that crisp
 * uses; the others belong to the OCI runtime, which makes its directories there: crisp removes them too.
 */
import { existsSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { join } from 'node:path';
import { CrispError, errnoOf } from '#core/errors.ts';
import { fromNode } from '../libc/errno.ts';
import type { Cgroups } from '../ports/kernel.ts';
import type { CgroupLayout, Hierarchy } from './layout.ts';
import { TaskMigration } from './task-migration.ts';
import {
  groupsBelow,
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
/** The controllers that limit or kill a pod; a group is made in their hierarchies alone, as each one costs calls. */
const used = new Set(['memory', 'cpu', 'cpuacct', 'cpuset', 'pids', 'freezer', 'hugetlb']);
/** Reads of freezer.state before processes are killed although not all are frozen. */
const MAX_FREEZE_POLLS = 20;

export class CgroupsV1 implements Cgroups {
  readonly version = 1;
  readonly trouble = undefined;
  readonly controllers: ReadonlySet<string>;
  readonly #all: readonly Hierarchy[];
  readonly #used: readonly Hierarchy[];
  readonly #freezer: Hierarchy | undefined;
  /** The cgroup2 tree beside them. */
  readonly #unified: Hierarchy | undefined;
  /** The hierarchy whose cgroup.procs is read. */
  readonly #primary: Hierarchy;
  readonly #moves: TaskMigration;

  constructor(layout: CgroupLayout) {
    this.#all = layout.hierarchies;
    this.controllers = new Set(layout.hierarchies.flatMap(({ controllers }) => controllers));
    this.#used = layout.hierarchies.filter(({ controllers }) => controllers.some((name) => used.has(name)));
    this.#freezer = this.#of('freezer');
    this.#unified = layout.hierarchies.find(({ unified }) => unified);
    const primary = this.#freezer ?? this.#of('pids') ?? this.#used[0];
    if (!primary)
      throw new CrispError('FailedPrecondition', 'no cgroup controller that crisp can use is mounted');
    this.#primary = primary;
    this.#moves = new TaskMigration(primary.root, primary.controllers[0] ?? '');
  }

  #of(controller: string): Hierarchy | undefined {
    return this.#all.find(({ controllers }) => controllers.includes(controller));
  }

  async create(path: string): Promise<void> {
    const parts = safeGroup(path).split('/').slice(1);
    await Promise.all(this.#used.map((hierarchy) => makeGroup(hierarchy, parts)));
  }

  async prepare(): Promise<void> {}

  async createChild(path: string): Promise<void> {
    const at = safeGroup(path).lastIndexOf('/');
    await makeGroup(this.#primary, [path.slice(at + 1)], join(this.#primary.root, path.slice(0, at)));
  }

  /** Moves it in each hierarchy that has the group: a bare child has one, and the process stays where it is in others. */
  async join(path: string, pid: number): Promise<void> {
    safeGroup(path);
    const there = this.#used.filter(
      (hierarchy) => hierarchy === this.#primary || existsSync(join(hierarchy.root, path)),
    );
    // The kernel does one after another; at once they would only hold all threads of libuv's pool for 10 ms.
    for (const { root } of there) await writeControl(join(root, path, 'cgroup.procs'), `${pid}`);
  }

  expectTaskMigration(forMs: number): void {
    this.#moves.expect(forMs);
  }

  joinFiles(path: string): string[] {
    safeGroup(path);
    return this.#used.map(({ root }) => join(root, path, 'tasks'));
  }

  processes(path: string): number[] {
    return pidsBelow(join(this.#primary.root, safeGroup(path)));
  }

  /** Frozen, no process can fork away from the signal. It dies when thawed. */
  async kill(path: string, signal: AbortSignal): Promise<void> {
    for (let attempt = 0; ; attempt++) {
      const pids = this.processes(path);
      if (pids.length === 0) return;
      refuseOwnCgroup(path, pids);
      // In the first tries the killed processes are still exiting: to freeze again would only delay them.
      if (attempt % 8 === 0) await this.#killOnce(path);
      await pauseBeforeRetry(
        attempt % 8,
        signal,
        () => `kill cgroup ${path}: processes ${pids.join(' ')} remain`,
      );
    }
  }

  async #killOnce(path: string): Promise<void> {
    if (!this.#freezer) return signalPids(this.processes(path), SIGKILL);
    const directory = join(this.#freezer.root, path);
    const state = join(directory, 'freezer.state');
    try {
      await writeControl(state, 'FROZEN');
      for (let n = 0; n < MAX_FREEZE_POLLS && readControl(state) === 'FREEZING'; n++)
        await writeControl(state, 'FROZEN');
      signalPids(this.processes(path), SIGKILL);
    } catch (error) {
      if (!isMissing(error)) throw error;
    } finally {
      // A group below may have been frozen for itself, by a paused container.
      for (const group of groupsBelow(directory)) {
        await writeControl(join(group, 'freezer.state'), 'THAWED').catch(ignoreMissing);
      }
    }
  }

  signalAll(path: string, signal: number): void {
    signalPids(this.processes(path), signal);
  }

  async remove(path: string, signal: AbortSignal): Promise<void> {
    safeGroup(path);
    await Promise.all(this.#all.map(({ root }) => removeGroup(join(root, path), signal)));
  }

  read(path: string, file: string): string | undefined {
    const directory = this.#directory(path, file);
    return directory === undefined ? undefined : readControl(join(directory, file));
  }

  async write(path: string, file: string, value: string): Promise<void> {
    const directory = this.#directory(path, file);
    if (directory === undefined) {
      throw new CrispError(
        'NotFound',
        `write ${value} to ${file} of ${path}: that controller is not mounted`,
      );
    }
    await writeControl(join(directory, file), value);
  }

  file(path: string, name: string): string | undefined {
    const directory = this.#directory(path, name);
    return directory === undefined ? undefined : join(directory, name);
  }

  /** The group's directory in the hierarchy of the file's controller. */
  #directory(path: string, file: string): string | undefined {
    safeGroup(path);
    safeFile(file);
    const controller = file.split('.')[0] ?? '';
    const isOfAll = controller === 'cgroup' || controller === 'tasks';
    // Only version 2 has PSI files, also beside version 1.
    const hierarchy = file.endsWith('.pressure')
      ? this.#unified
      : isOfAll
        ? this.#primary
        : this.#of(controller);
    return hierarchy && join(hierarchy.root, path);
  }

  exists(path: string): boolean {
    safeGroup(path);
    return this.#used.some(({ root }) => existsSync(join(root, path)));
  }

  find(name: string): string[] {
    return [...new Set(this.#used.flatMap(({ root }) => groupsNamed(root, name)))];
  }

  directories(path: string): string[] {
    safeGroup(path);
    return this.#all.map(({ root }) => join(root, path)).filter((directory) => existsSync(directory));
  }

  /** A v1 group counts the victims of its own, not those of the groups below. */
  oomKills(path: string): number {
    const memory = this.#of('memory');
    if (!memory) return 0;
    let kills = 0;
    for (const group of groupsBelow(join(memory.root, safeGroup(path)))) {
      const text = readControl(join(group, 'memory.oom_control')) ?? '';
      kills += Number(/^oom_kill (\d+)$/m.exec(text)?.[1] ?? 0);
    }
    return kills;
  }
}

function ignoreMissing(error: unknown): void {
  if (!isMissing(error)) throw error;
}

/** Makes the directories below `top` in turn. A new cpuset is empty and takes no process: it gets its parent's sets. */
async function makeGroup(
  hierarchy: Hierarchy,
  parts: readonly string[],
  top = hierarchy.root,
): Promise<void> {
  const isCpuset = hierarchy.controllers.includes('cpuset');
  let at = top;
  for (const part of parts) {
    const parent = at;
    at = join(parent, part);
    try {
      await mkdir(at, { mode: 0o755 });
    } catch (error) {
      if (errnoOf(error) !== 'EEXIST') throw fromNode(error, `make cgroup ${at}`);
    }
    if (isCpuset) await inheritCpuset(parent, at);
  }
}

async function inheritCpuset(parent: string, group: string): Promise<void> {
  for (const file of ['cpuset.cpus', 'cpuset.mems']) {
    if (readControl(join(group, file)) !== '') continue;
    await writeControl(join(group, file), readControl(join(parent, file)) ?? '');
  }
}
