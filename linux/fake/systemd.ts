import { CrispError } from '#core/errors.ts';
import type { Cgroups } from '../ports/kernel.ts';
import type { ScopeRequest, SystemdUnits, UnitProperty } from '../ports/systemd-units.ts';
import { slicePath } from '../systemd/slice-names.ts';
import type { FakeProcesses } from './processes.ts';

/** Units in memory, with their groups in the fake kernel's tree. A scope ends when it is empty. */
export class FakeSystemd implements SystemdUnits {
  readonly booted = true;
  /** The loaded units and the properties that were given to them. */
  readonly units = new Map<string, readonly UnitProperty[]>();
  readonly #paths = new Map<string, string>();
  readonly #listeners = new Set<() => void>();
  readonly #cgroups: Cgroups;
  readonly #processes: FakeProcesses;

  constructor(cgroups: Cgroups, processes: FakeProcesses) {
    this.#cgroups = cgroups;
    this.#processes = processes;
  }

  async startScope({ name, slice, pids, slices }: ScopeRequest): Promise<void> {
    const taken = [name, ...slices.map((made) => made.name)].find((unit) => this.units.has(unit));
    if (taken) throw new CrispError('AlreadyExists', `systemd: start ${name}: unit ${taken} exists`);
    const ended = pids.find((pid) => !this.#processes.reference(pid));
    if (ended !== undefined)
      throw new CrispError('NotFound', `systemd: start ${name}: process ${ended} has ended`);
    for (const made of slices) this.#load(made.name, slicePath(made.name), made.properties);
    const path = `${slice === '-.slice' ? '' : slicePath(slice)}/${name}`;
    await this.#cgroups.create(path);
    for (const pid of pids) await this.#cgroups.join(path, pid);
    this.#load(name, path, []);
    void this.#endWhenEmpty(name, path);
  }

  async #endWhenEmpty(name: string, path: string): Promise<void> {
    for (let left = this.#cgroups.processes(path); left.length > 0; left = this.#cgroups.processes(path)) {
      const living = left.flatMap((pid) => this.#processes.reference(pid) ?? []);
      await Promise.all(living.map((process) => this.#processes.ended(process)));
    }
    if (this.#paths.get(name) === path) await this.stop(name, AbortSignal.timeout(1000));
  }

  #load(name: string, path: string, properties: readonly UnitProperty[]): void {
    this.units.set(name, properties);
    this.#paths.set(name, path);
  }

  onReload(listener: () => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  async listen(): Promise<void> {}

  /** The signal that `systemctl daemon-reload` causes. */
  reload(): void {
    for (const listener of this.#listeners) listener();
  }

  async stop(unit: string, signal: AbortSignal): Promise<void> {
    const path = unit.endsWith('.slice') ? slicePath(unit) : this.#paths.get(unit);
    if (path === undefined) return;
    await this.#cgroups.kill(path, signal);
    await this.#cgroups.remove(path, signal);
    for (const [name, at] of this.#paths) {
      if (at !== path && !at.startsWith(`${path}/`)) continue;
      this.units.delete(name);
      this.#paths.delete(name);
    }
  }
}
