import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import { type Context, pathsOf } from '../context.ts';
import type { StaleExec } from './stale-exec.ts';

export type { StaleExec } from './stale-exec.ts';

const SIGTERM = 15;
const POLL_MS = 5;
/** What has been killed may stand in its cgroup for so long. */
const LEAVE_MS = 20;

/**
 * Found by their process files, which are written before anything else, and which become job files when a command leaves
 * jobs behind. To be called before any exec is served.
 */
export function staleExecs(context: Context): StaleExec[] {
  return context.containers.list().flatMap((record) => {
    if (record.state !== 'running') return [];
    return filesOf(pathsOf(context.options, record.id).bundle).flatMap((file) => {
      const [, name, kind] = /^(exec-[0-9a-f]+)\.(json|job)$/.exec(file) ?? [];
      return name === undefined ? [] : [{ record, name, hasEnded: kind === 'job' }];
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

/** Where the OCI runtime writes the pid of a command; it also tells who attends the command. */
export const execPidFile = ({ options }: Context, { record, name }: Omit<StaleExec, 'hasEnded'>): string =>
  `${pathsOf(options, record.id).bundle}/${name}.pid`;

/**
 * Ends what is left of a command: the OCI runtime that is still at work, the command, all that it has forked; then its
 * cgroup and the files by which the next daemon would find it. Where it has ended by itself (`hasEnded`) its jobs run on,
 * and `context.execJobs` removes the cgroup after them. What cannot be ended in time is tried again by that, too. Returns
 * whether nothing runs that was to be killed. Never throws.
 */
export async function endExec(
  context: Context,
  exec: StaleExec,
  op: Operation,
  limitMs = context.options.timeouts.kill,
): Promise<boolean> {
  const { kernel, log } = context;
  const cgroup = `${exec.record.cgroup.path}/${exec.name}`;
  const bundle = `${pathsOf(context.options, exec.record.id).bundle}/${exec.name}`;
  try {
    const jobs = exec.hasEnded && (await staysBusy(context, cgroup));
    if (!jobs) {
      await op.deadline('end exec', limitMs, async (signal) => {
        if (!exec.hasEnded) await endAttendants(context, execPidFile(context, exec), signal);
        if (kernel.cgroups.processes(cgroup).length > 0) await kernel.cgroups.kill(cgroup, signal);
        await kernel.cgroups.remove(cgroup, signal);
      });
    }
    for (const ending of ['.log', '.pid', '.sock']) rmSync(`${bundle}${ending}`, { force: true });
    if (jobs) {
      if (existsSync(`${bundle}.json`)) renameSync(`${bundle}.json`, `${bundle}.job`);
      context.execJobs.keep(exec);
    } else {
      for (const ending of ['.json', '.job']) rmSync(`${bundle}${ending}`, { force: true });
    }
    return true;
  } catch (error) {
    if (context.containers.get(exec.record.id)?.state !== 'running') return true; // its end has taken all along
    log.warn(
      { container: exec.record.id, cgroup, error: describeError(error) },
      'a command is not ended yet; it is tried again',
    );
    context.execJobs.keep(exec);
    return false;
  }
}

/** Whether somebody is in the group, and not on the way out of it. */
async function staysBusy({ kernel }: Context, cgroup: string): Promise<boolean> {
  const until = performance.now() + LEAVE_MS;
  while (kernel.cgroups.processes(cgroup).length > 0) {
    if (performance.now() >= until) return true;
    await sleep(POLL_MS);
  }
  return false;
}

/** A runtime at work has put nothing into the cgroup yet: its attendant ends it, and what it has begun. */
async function endAttendants({ kernel }: Context, pidFile: string, signal: AbortSignal): Promise<void> {
  const found = kernel.streams.attendants(pidFile);
  for (const process of found) kernel.processes.signal(process, SIGTERM);
  const lives = (process: ProcessRef): boolean => kernel.processes.alive(process);
  while (found.some(lives)) {
    signal.throwIfAborted();
    await sleep(POLL_MS);
  }
}
