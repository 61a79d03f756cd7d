import { groupFiles, parseGroup } from '../cgroup/stats.ts';
import type { Cgroups } from '../ports/kernel.ts';
import type { CgroupStats, LinkStats, ProcessStats, TreeUsage, Usage, UsageDetail } from '../ports/stats.ts';

/** Statistics of the fake cgroups' control files; no links, and trees that use nothing. */
export class FakeUsage implements Usage {
  readonly #cgroups: Cgroups;

  constructor(cgroups: Cgroups) {
    this.#cgroups = cgroups;
  }

  async groups(paths: readonly string[], detail: UsageDetail): Promise<(CgroupStats | undefined)[]> {
    const { version } = this.#cgroups;
    return paths.map((path) => {
      const texts = groupFiles(version, detail).map(
        (name) => [name, this.#cgroups.read(path, name)] as const,
      );
      const there = texts.filter((entry): entry is [string, string] => entry[1] !== undefined);
      return parseGroup(version, new Map(there), 1n);
    });
  }

  async links(processes: readonly unknown[]): Promise<LinkStats[][]> {
    return processes.map(() => []);
  }

  async openFiles(processes: readonly unknown[]): Promise<undefined[]> {
    return processes.map(() => undefined);
  }

  async processes(paths: readonly string[]): Promise<ProcessStats[]> {
    return paths.map((path) => ({
      processes: this.#cgroups.processes(path).length,
      descriptors: 0,
      sockets: 0,
    }));
  }

  async tree(): Promise<TreeUsage> {
    return { bytes: 0n, inodes: 0n };
  }
}
