import { readdirSync } from 'node:fs';
import { rm } from 'node:fs/promises';
import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import { placesOf, type Runtime } from './runtime.ts';

/** A command of an earlier daemon: nobody waits for its output any more. */
export interface StaleExec {
  readonly record: ContainerRecord;
  /** Of its child cgroup and of its files in the bundle. */
  readonly name: string;
}

/** Found by their process files, which are written before anything else. To be called before any exec is served. */
export function staleExecs(runtime: Runtime): StaleExec[] {
  return runtime.containers.list().flatMap((record) => {
    if (record.state !== 'running') return [];
    return filesOf(placesOf(runtime.options, record.id).bundle).flatMap((file) => {
      const name = /^(exec-[0-9a-f]+)\.json$/.exec(file)?.[1];
      return name === undefined ? [] : [{ record, name }];
    });
  });
}

function filesOf(directory: string): string[] {
  try {
    return readdirSync(directory);
  } catch {
    return [];
  }
}

/** Kills what is left of the command and removes its cgroup, then its files. Never throws. */
export async function endStaleExec(
  runtime: Runtime,
  { record, name }: StaleExec,
  op: Operation,
): Promise<void> {
  const { kernel, options, log } = runtime;
  const cgroup = `${record.cgroup.path}/${name}`;
  const file = `${placesOf(options, record.id).bundle}/${name}`;
  try {
    await op.deadline('end stale exec', options.timeouts.kill, async (signal) => {
      if (kernel.cgroups.processes(cgroup).length > 0) await kernel.cgroups.kill(cgroup, signal);
      await kernel.cgroups.remove(cgroup, signal);
    });
    for (const ending of ['.log', '.pid', '.sock', '.json']) await rm(`${file}${ending}`, { force: true });
  } catch (error) {
    log.warn(
      { container: record.id, cgroup, error: describeError(error) },
      'a command of the last daemon is left',
    );
  }
}
