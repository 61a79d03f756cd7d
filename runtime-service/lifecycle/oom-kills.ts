/**
 * Whether the OOM killer has killed a process of a container, also where its cgroup is already gone: systemd removes an
 * emptied scope, with its counters, at once. There are three sources: the cgroup's own counter; the file that conmon
 * writes when it is notified in time; and the counter of the parent slice, which on cgroup v2 includes its descendants
 * (memory.events) and outlives the scope. Kills of the slice that no existing cgroup accounts for, and that were not
 * counted at the start, are those of a container that was killed and whose cgroup is gone.
 */
import { existsSync } from 'node:fs';
import { dirname } from 'node:path';
import type { Cgroups } from '#linux/ports/kernel.ts';
import type { ContainerRecord } from '../container.ts';

const KILLED = 128 + 9;

type Placed = Pick<ContainerRecord, 'id' | 'cgroup'>;

export class OomKills {
  readonly #cgroups: Pick<Cgroups, 'version' | 'oomKills' | 'exists'>;
  readonly #containers: () => readonly Placed[];
  /** By slice: kills of groups that are gone, and that are accounted for. */
  readonly #known = new Map<string, number>();

  constructor(
    cgroups: Pick<Cgroups, 'version' | 'oomKills' | 'exists'>,
    containers: () => readonly Placed[],
  ) {
    this.#cgroups = cgroups;
    this.#containers = containers;
  }

  /** To be called before a container is started: what its slice has counted until then is not the container's. */
  expect({ cgroup }: Placed): void {
    const slice = dirname(cgroup.path);
    if (this.#known.has(slice)) return;
    const used = new Set(this.#containers().map((record) => dirname(record.cgroup.path)));
    for (const old of this.#known.keys()) if (!used.has(old)) this.#known.delete(old);
    this.#known.set(slice, this.#unaccounted(slice));
  }

  /** Of a container that has ended, with the code of its first process where that is known. */
  killed(record: Placed, code: number | undefined, conmonFile: string): boolean {
    if (this.#cgroups.oomKills(record.cgroup.path) > 0) return true;
    const isLost = this.#lost(record);
    return existsSync(conmonFile) || (isLost && (code ?? KILLED) === KILLED);
  }

  /** Whether its slice has kills that are not accounted for yet; they are, from then on. */
  #lost({ cgroup }: Placed): boolean {
    const slice = dirname(cgroup.path);
    const known = this.#known.get(slice);
    if (this.#cgroups.version !== 2 || known === undefined || this.#cgroups.exists(cgroup.path)) return false;
    const now = this.#unaccounted(slice);
    this.#known.set(slice, Math.max(known, now));
    return now > known;
  }

  /** The slice's kills less those of the existing cgroups. */
  #unaccounted(slice: string): number {
    let kills = this.#cgroups.oomKills(slice);
    for (const { cgroup } of this.#containers())
      if (dirname(cgroup.path) === slice) kills -= this.#cgroups.oomKills(cgroup.path);
    return kills;
  }
}
