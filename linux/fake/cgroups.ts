import { safeFile, safeGroup } from '../cgroup/tree.ts';
import { refused } from '../libc/errno.ts';
import type { Cgroups, CgroupVersion } from '../ports/kernel.ts';
import type { FakeProcesses } from './processes.ts';

interface Group {
  readonly pids: Set<number>;
  readonly files: Map<string, string>;
}

/** Cgroups in memory; a control file exists once it has been written (`give`, or `write` of one that exists). */
export class FakeCgroups implements Cgroups {
  readonly version: CgroupVersion;
  readonly controllers: ReadonlySet<string> = new Set(['cpu', 'cpuset', 'memory', 'pids']);
  readonly trouble = undefined;
  readonly #groups = new Map<string, Group>();
  readonly #processes: FakeProcesses;

  constructor(processes: FakeProcesses, version: CgroupVersion) {
    this.#processes = processes;
    this.version = version;
  }

  async create(path: string): Promise<void> {
    const parts = safeGroup(path).split('/').slice(1);
    for (const [index] of parts.entries()) {
      const group = `/${parts.slice(0, index + 1).join('/')}`;
      if (!this.#groups.has(group)) this.#groups.set(group, { pids: new Set(), files: new Map() });
    }
  }

  async prepare(path: string): Promise<void> {
    await this.create(path);
  }

  async createChild(path: string): Promise<void> {
    const parent = safeGroup(path).split('/').slice(0, -1).join('/');
    if (parent !== '' && !this.#groups.has(parent)) throw refused(`make cgroup ${path}`, 'ENOENT');
    await this.create(path);
  }

  #group(path: string, what: string): Group {
    const group = this.#groups.get(safeGroup(path));
    if (!group) throw refused(`${what} ${path}`, 'ENOENT');
    return group;
  }

  async join(path: string, pid: number): Promise<void> {
    const group = this.#group(path, 'join cgroup');
    if (!this.#processes.reference(pid)) throw refused(`move process ${pid} to cgroup ${path}`, 'ESRCH');
    for (const other of this.#groups.values()) other.pids.delete(pid);
    group.pids.add(pid);
  }

  expectTaskMigration(_forMs: number): void {}

  joinFiles(path: string): string[] {
    return [`${safeGroup(path)}/cgroup.procs`];
  }

  #below(path: string): [string, Group][] {
    safeGroup(path);
    return [...this.#groups].filter(([name]) => name === path || name.startsWith(`${path}/`));
  }

  processes(path: string): number[] {
    const pids = this.#below(path).flatMap(([, group]) => [...group.pids]);
    return pids.filter((pid) => this.#processes.reference(pid) !== undefined);
  }

  async kill(path: string, _signal: AbortSignal): Promise<void> {
    this.signalAll(path, 9);
  }

  signalAll(path: string, signal: number): void {
    for (const pid of this.processes(path)) this.#processes.kill(pid, signal);
  }

  async remove(path: string, signal: AbortSignal): Promise<void> {
    const pids = this.processes(path);
    if (pids.length > 0) {
      await Promise.race([
        Promise.all(pids.map((pid) => this.#processes.ended(this.#reference(pid)))),
        new Promise<void>((resolve) => signal.addEventListener('abort', () => resolve(), { once: true })),
      ]);
    }
    const left = this.processes(path);
    if (left.length > 0) throw refused(`remove cgroup ${path}`, 'EBUSY', `processes ${left.join(' ')}`);
    for (const [name] of this.#below(path)) this.#groups.delete(name);
  }

  #reference(pid: number) {
    return this.#processes.reference(pid) ?? { pid, startTime: '', bootId: '' };
  }

  file(path: string, name: string): string | undefined {
    return `${safeGroup(path)}/${safeFile(name)}`;
  }

  read(path: string, file: string): string | undefined {
    return this.#groups.get(safeGroup(path))?.files.get(safeFile(file));
  }

  async write(path: string, file: string, value: string): Promise<void> {
    this.#group(path, `write ${safeFile(file)} of cgroup`).files.set(file, value);
  }

  exists(path: string): boolean {
    return this.#groups.has(safeGroup(path));
  }

  find(name: string): string[] {
    return [...this.#groups.keys()].filter((path) => path.endsWith(`/${name}`));
  }

  directories(path: string): string[] {
    return this.exists(path) ? [path] : [];
  }

  oomKills(path: string): number {
    const events = this.read(path, 'memory.events') ?? this.read(path, 'memory.oom_control') ?? '';
    return Number(/^oom_kill (\d+)$/m.exec(events)?.[1] ?? 0);
  }
}
