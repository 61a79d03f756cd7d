import type { ContainerRecord } from '../container.ts';

/** A command by what it has on the machine; a stale one is an earlier daemon's. */
export interface StaleExec {
  readonly record: ContainerRecord;
  /** Of its child cgroup and of its files in the bundle. */
  readonly name: string;
  /** It has ended by itself, and what it has left in the background runs on. */
  readonly hasEnded: boolean;
}

/** Commands that have ended and left processes behind: their cgroups go when these have ended. */
export interface JobKeeper {
  keep(exec: StaleExec): void;
  close(): Promise<void>;
}
