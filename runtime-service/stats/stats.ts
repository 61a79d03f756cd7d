/** What containers use. Reads cgroups in one pass off the main thread; never executes anything, never waits for the walk of a directory tree. */
import type { ContainerId } from '#core/ids.ts';
import { Rates } from '#core/rate.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import type { CgroupStats, ProcessStats, UsageDetail } from '#linux/ports/stats.ts';
import type { ContainerRecord } from '../container.ts';
import type { Containers } from '../containers.ts';
import type { Context } from '../context.ts';
import { type LayerUsage, WritableLayers } from './writable-layers.ts';

/** The file system that holds the writable layers. */
export interface StorageUsage {
  /** A directory on it. */
  readonly mountpoint: string;
  readonly bytes: bigint;
  readonly inodes: bigint;
  readonly inodesFree: bigint;
}

/** A container's stats at one time. */
export interface ContainerUsage {
  readonly record: ContainerRecord;
  /** undefined where it does not run. */
  readonly group: CgroupStats | undefined;
  /** Mean CPU since the previous sample, in billionths of a core; undefined at the first one. */
  readonly nanoCores: bigint | undefined;
  /** undefined until it has been measured once. */
  readonly layer: LayerUsage | undefined;
  /** With `metrics` only. */
  readonly processes: ProcessStats | undefined;
  /** Soft limit of open files of its first process. With `metrics` only; undefined: none. */
  readonly maxOpenFiles: bigint | undefined;
}

export class Stats {
  readonly #context: Context;
  readonly #layers: WritableLayers;
  readonly #rates = new Rates<ContainerId>();

  constructor(context: Context) {
    this.#context = context;
    const { containers, kernel, log } = context;
    this.#layers = new WritableLayers(kernel.usage, (id) => upperOf(containers, id), log);
    containers.onChange((after, before) => {
      if (after?.state === 'running' && before?.state !== 'running') this.#layers.measure(after.id);
      if (!after && before) this.#forget(before.id);
    });
  }

  /** Samples what runs already, so that the first caller gets rates. */
  open(): void {
    for (const { id, state } of this.#context.containers.list())
      if (state === 'running') this.#layers.measure(id);
  }

  /** Of each record, in order; one whose container ends meanwhile has no group. */
  async of(records: readonly ContainerRecord[], detail: UsageDetail): Promise<ContainerUsage[]> {
    const { usage } = this.#context.kernel;
    const running = records.filter(isRunning);
    const paths = running.map(({ cgroup }) => cgroup.path);
    const [groups, processes, limits] = await Promise.all([
      usage.groups(paths, detail),
      detail === 'metrics' ? usage.processes(paths, true) : [],
      detail === 'metrics' ? usage.openFiles(running.map(firstProcess)) : [],
    ]);
    let at = 0;
    return records.map((record) => {
      const index = isRunning(record) ? at++ : -1;
      const group = groups[index];
      // One that was removed meanwhile must not be remembered.
      const known = this.#context.containers.get(record.id) !== undefined;
      return {
        record,
        group,
        nanoCores:
          known && group?.cpu ? this.#rates.sample(record.id, group.cpu.usage, group.steady) : undefined,
        layer: known ? this.#layers.get(record.id) : undefined,
        processes: processes[index],
        maxOpenFiles: limits[index],
      };
    });
  }

  async storage(): Promise<StorageUsage> {
    const mountpoint = this.#context.options.root;
    const { total, inodes, inodesFree } = await this.#context.kernel.files.statfs(mountpoint);
    return { mountpoint, bytes: total, inodes, inodesFree };
  }

  close(): Promise<void> {
    return this.#layers.close();
  }

  #forget(id: ContainerId): void {
    this.#layers.forget(id);
    this.#rates.forget(id);
  }
}

/** A running container has one; no process has the number 0. */
const firstProcess = ({ process }: ContainerRecord): ProcessRef =>
  process ?? { pid: 0, startTime: '', bootId: '' };
const isRunning = ({ state }: ContainerRecord): boolean => state === 'running';
const upperOf = (containers: Containers, id: ContainerId): string => `${containers.directory(id)}/upper`;
