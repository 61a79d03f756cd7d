import { readdirSync, rmSync } from 'node:fs';
import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import { placesOf, type Runtime } from './runtime.ts';

/** A command by what it has on the machine; a stale one is an earlier daemon's. */
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

export interface ExecEnd {
  /** What is left of the command may run on, in its cgroup. */
  readonly spare?: boolean;
  /** Settles when the process that was waited for has ended. */
  readonly running?: Promise<unknown> | undefined;
}

/**
 * Kills what is left of a command, removes its cgroup, then its files, by which the next daemon would find it. Of a stale
 * one nobody waits for the process any more. Never throws.
 */
export async function endExec(
  runtime: Runtime,
  { record, name }: StaleExec,
  op: Operation,
  { spare = false, running }: ExecEnd = {},
): Promise<void> {
  const { kernel, options, log } = runtime;
  const cgroup = `${record.cgroup.path}/${name}`;
  const file = `${placesOf(options, record.id).bundle}/${name}`;
  try {
    const isLeft = kernel.cgroups.processes(cgroup).length > 0;
    if (!(spare && isLeft)) {
      await op.deadline('end exec', options.timeouts.kill, async (signal) => {
        if (isLeft) await kernel.cgroups.kill(cgroup, signal);
        await running?.catch(() => {});
        await kernel.cgroups.remove(cgroup, signal);
      });
    }
    for (const ending of ['.log', '.pid', '.sock', '.json']) rmSync(`${file}${ending}`, { force: true });
  } catch (error) {
    log.warn({ container: record.id, cgroup, error: describeError(error) }, 'a command has left traces');
  }
}
