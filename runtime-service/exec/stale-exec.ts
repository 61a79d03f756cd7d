import type { ContainerRecord } from '../container.ts';

/** A command, by its cgroup and files; a stale one is an earlier daemon's. */
export interface StaleExec {
  readonly record: ContainerRecord;
  /** Of its child cgroup and of its files in the bundle. */
  readonly name: string;
  /** It has ended by itself, and its background jobs run on. */
  readonly hasEnded: boolean;
}

/** Commands that have ended but whose background jobs run: their cgroups are removed when these have ended. */
export interface JobKeeper {
  keep(exec: StaleExec): void;
  close(): Promise<void>;
}
