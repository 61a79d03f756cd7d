/** Usage of whole pods: their cgroups, their links in the pause process's network namespace, their number of processes. */
import type { SandboxId } from '#core/ids.ts';
import { Rates } from '#core/rate.ts';
import type { CgroupStats, LinkStats, UsageDetail } from '#linux/ports/stats.ts';
import type { Context } from './context.ts';
import type { SandboxRecord } from './sandbox.ts';
import type { SandboxUsage } from './sandbox-view.ts';
import { sandboxView } from './views.ts';

export class Stats {
  readonly #context: Context;
  readonly #rates = new Rates<SandboxId>();

  constructor(context: Context) {
    this.#context = context;
    context.sandboxes.onChange((kind, { id }) => {
      if (kind === 'removed') this.#rates.forget(id);
    });
  }

  /** In the order of the ids; unknown ids are left out. */
  async of(ids: readonly SandboxId[], detail: UsageDetail): Promise<SandboxUsage[]> {
    const { kernel, sandboxes } = this.#context;
    const records = ids.flatMap((id) => sandboxes.get(id) ?? []);
    const [groups, links, processes] = await Promise.all([
      this.#groups(records, detail),
      this.#links(records),
      kernel.usage.processes(
        records.flatMap(({ cgroup }) => [counted(cgroup.parent, cgroup.monitor), cgroup.monitor]),
        false,
      ),
    ]);
    const at = BigInt(Date.now()) * 1_000_000n;
    return records.map((record, index) => {
      const group = groups.get(record.id);
      const isKnown = sandboxes.get(record.id) !== undefined;
      const [all, leaf] = processes.slice(index * 2, index * 2 + 2).map((stats) => stats.processes);
      const pause = record.state.name === 'ready' ? 1 : 0;
      return {
        sandbox: sandboxView(record),
        group,
        nanoCores:
          isKnown && group?.cpu ? this.#rates.sample(record.id, group.cpu.usage, group.steady) : undefined,
        links: links.get(record.id) ?? [],
        processes: Math.max(0, (all ?? 0) - (leaf ?? 0)) + pause,
        at,
      };
    });
  }

  async #groups(
    records: readonly SandboxRecord[],
    detail: UsageDetail,
  ): Promise<Map<SandboxId, CgroupStats | undefined>> {
    const own = records.filter(({ cgroup }) => cgroup.parent !== '/');
    const groups = await this.#context.kernel.usage.groups(
      own.map(({ cgroup }) => cgroup.parent),
      detail,
    );
    return new Map(own.map(({ id }, index) => [id, groups[index]]));
  }

  async #links(records: readonly SandboxRecord[]): Promise<Map<SandboxId, LinkStats[]>> {
    const networked = records.flatMap(({ id, process, attachments: [first] }) =>
      process && first ? [{ id, process, first: first.interfaceName }] : [],
    );
    const links = await this.#context.kernel.usage.links(networked.map(({ process }) => process));
    return new Map(
      networked.map(({ id, first }, index) => {
        const others = (links[index] ?? []).filter(({ name }) => name !== 'lo');
        return [id, others.toSorted((a, b) => Number(b.name === first) - Number(a.name === first))] as const;
      }),
    );
  }
}

/** A pod without a cgroup of its own has only its leaf. */
const counted = (parent: string, monitor: string): string => (parent === '/' ? monitor : parent);
