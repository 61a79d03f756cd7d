import { setTimeout as sleep } from 'node:timers/promises';
import { hugePageSizes } from '../cgroup/huge-pages.ts';
import { groupFiles, parseGroup } from '../cgroup/stats.ts';
import { safeGroup } from '../cgroup/tree.ts';
import { throwIfAborted } from '../libc/abort.ts';
import { parseLinks } from '../net/link-stats.ts';
import type { Cgroups, ProcessRef } from '../ports/kernel.ts';
import type { CgroupStats, LinkStats, ProcessStats, TreeUsage, Usage, UsageDetail } from '../ports/stats.ts';
import { parseStat } from '../process/identity.ts';
import { parseOpenFiles } from '../process/rlimits.ts';
import { BatchedReadings } from './batched-readings.ts';
import type { ReadThread } from './read-thread.ts';

/** Files of one request: some four milliseconds. */
const BATCH = 1024;
/** The weight of a group whose processes are counted, and of one whose processes' descriptors are counted, too. */
const WEIGHT_OF_PROCESSES = 4;
const WEIGHT_OF_DESCRIPTORS = 256;
/** A walk pauses for so many times its working time: it takes a tenth of the thread at most. */
const PAUSE_FACTOR = 9;

/** The real usage, read by a worker thread. */
export class RealUsage implements Usage {
  readonly #thread: Pick<ReadThread, 'request'>;
  readonly #readings: BatchedReadings;
  readonly #cgroups: Cgroups;
  readonly #pageSizes = hugePageSizes();
  #walks = 0;

  constructor(thread: Pick<ReadThread, 'request'>, cgroups: Cgroups) {
    this.#thread = thread;
    this.#readings = new BatchedReadings(thread);
    this.#cgroups = cgroups;
  }

  async groups(paths: readonly string[], detail: UsageDetail): Promise<(CgroupStats | undefined)[]> {
    const { version } = this.#cgroups;
    const files = groupFiles(version, detail, this.#pageSizes)
      .map((name) => ({ root: this.#rootOf(name), name }))
      .filter(({ root }) => root !== '');
    return this.#batches(paths.map(safeGroup), files.length, async (groups, weight) => {
      const texts = await this.#readings.request({ act: 'read groups', files, groups }, weight);
      const at = BigInt(Date.now()) * 1_000_000n;
      const steady = process.hrtime.bigint();
      // A batch is parsed in the turn of its answer: all at once they would hold the loop for tens of milliseconds.
      return groups.map((_, index) => {
        const own = new Map<string, string>();
        for (const [offset, { name }] of files.entries()) {
          const text = texts[index * files.length + offset];
          if (text !== undefined) own.set(name, text);
        }
        return parseGroup(version, own, at, steady);
      });
    });
  }

  async links(processes: readonly ProcessRef[]): Promise<LinkStats[][]> {
    return (await this.#ofProcesses(processes, 'net/dev')).map((text) => parseLinks(text ?? ''));
  }

  async openFiles(processes: readonly ProcessRef[]): Promise<(bigint | undefined)[]> {
    return (await this.#ofProcesses(processes, 'limits')).map((text) => parseOpenFiles(text ?? ''));
  }

  /** A file below /proc/PID of each; undefined where the pid is reused. */
  async #ofProcesses(processes: readonly ProcessRef[], file: string): Promise<(string | undefined)[]> {
    const texts = await this.#texts(
      processes.flatMap(({ pid }) => [`/proc/${pid}/${file}`, `/proc/${pid}/stat`]),
    );
    return processes.map(({ startTime }, index) => {
      const [text, stat = ''] = texts.slice(index * 2, index * 2 + 2);
      return parseStat(stat)?.startTime === startTime ? text : undefined;
    });
  }

  async processes(paths: readonly string[], descriptors: boolean): Promise<ProcessStats[]> {
    const root = this.#rootOf('cgroup.procs');
    const directories = paths.map((path) => root + safeGroup(path));
    return this.#batches(
      directories,
      descriptors ? WEIGHT_OF_DESCRIPTORS : WEIGHT_OF_PROCESSES,
      (batch, weight) =>
        this.#readings.request({ act: 'count processes', directories: batch, descriptors }, weight),
    );
  }

  async tree(path: string, signal: AbortSignal): Promise<TreeUsage> {
    const what = `measure ${path}`;
    const walk = ++this.#walks;
    try {
      for (;;) {
        throwIfAborted(signal, what);
        const started = performance.now();
        const { bytes, inodes, done } = await this.#thread.request({ act: 'walk', walk, path });
        if (done) return { bytes: BigInt(Math.round(bytes)), inodes: BigInt(Math.round(inodes)) };
        await sleep(Math.ceil((performance.now() - started) * PAUSE_FACTOR), undefined, { ref: false });
      }
    } catch (error) {
      void this.#thread.request({ act: 'close walk', walk }).catch(() => {});
      throw error;
    }
  }

  /** Where the hierarchy that has the file is mounted; empty where none has it. */
  #rootOf(name: string): string {
    return this.#cgroups.file('/x', name)?.slice(0, -`/x/${name}`.length) ?? '';
  }

  #texts(paths: readonly string[]): Promise<(string | undefined)[]> {
    return this.#batches(paths, 1, (batch, weight) =>
      this.#readings.request({ act: 'read', paths: batch }, weight),
    );
  }

  /** In requests of at most `BATCH`; requests of others may come between them. */
  async #batches<T, R>(
    items: readonly T[],
    weight: number,
    read: (batch: readonly T[], weight: number) => Promise<readonly R[]>,
  ): Promise<R[]> {
    const size = Math.max(1, Math.floor(BATCH / weight));
    const batches = Array.from({ length: Math.ceil(items.length / size) }, (_, n) =>
      items.slice(n * size, (n + 1) * size),
    );
    return (await Promise.all(batches.map((batch) => read(batch, batch.length * weight)))).flat();
  }
}
