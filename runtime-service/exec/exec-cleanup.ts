/** The end of commands: what an earlier daemon or a command has left in a container is ended, or removed once it has ended. */
import { existsSync, readdirSync, renameSync, rmSync } from 'node:fs';
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { Operation } from '#core/operation.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import { type Context, pathsOf, type StaleExec } from '../context.ts';

const SIGTERM = 15;
const POLL_MS = 5;
/** Processes that have ended may stay in their cgroup for so long. */
const LEAVE_MS = 20;
/** Nothing waits for the end of a job: its empty cgroup may exist a little longer. */
const JOB_POLL_MS = 1000;

/**
 * Found by their process files, which are written before anything else, and which become job files when a command ends
 * before its background jobs. To be called before any exec is served.
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

/** Where the OCI runtime writes the pid of a command; it also identifies the command's exec shim. */
export const execPidFile = ({ options }: Context, { record, name }: Omit<StaleExec, 'hasEnded'>): string =>
  `${pathsOf(options, record.id).bundle}/${name}.pid`;

/**
 * Ends what remains of a command: the OCI runtime that still runs, the command, all that it has forked; then removes its
 * cgroup and the files by which the next daemon would find it. Where it has ended by itself (`hasEnded`) its jobs run on,
 * and `context.execJobs` removes the cgroup after them. What cannot be ended in time is retried by that, too. Returns
 * whether all that was to be killed has ended. Never throws.
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
    const jobs = exec.hasEnded && (await hasJobs(context, cgroup));
    if (!jobs) {
      await op.deadline('end exec', limitMs, async (signal) => {
        if (!exec.hasEnded) await endShims(context, execPidFile(context, exec), signal);
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
    if (context.containers.get(exec.record.id)?.state !== 'running') return true; // its clean-up includes the command
    log.warn(
      { container: exec.record.id, cgroup, error: describeError(error) },
      'exec cleanup incomplete; it is retried',
    );
    context.execJobs.keep(exec);
    return false;
  }
}

/** Whether processes are in the cgroup that are not just exiting. */
async function hasJobs({ kernel }: Context, cgroup: string): Promise<boolean> {
  const until = performance.now() + LEAVE_MS;
  while (kernel.cgroups.processes(cgroup).length > 0) {
    if (performance.now() >= until) return true;
    await sleep(POLL_MS);
  }
  return false;
}

/** A running OCI runtime has put nothing into the cgroup yet: its exec shim ends it, and what it has started. */
async function endShims({ kernel }: Context, pidFile: string, signal: AbortSignal): Promise<void> {
  const found = kernel.streams.execShims(pidFile);
  for (const process of found) kernel.processes.signal(process, SIGTERM);
  const lives = (process: ProcessRef): boolean => kernel.processes.alive(process);
  while (found.some(lives)) {
    signal.throwIfAborted();
    await sleep(POLL_MS);
  }
}

/**
 * Background jobs of commands that have ended: they have no limits but the container's, and run in the command's cgroup,
 * which is removed once they have ended; and commands that could not be killed at once. A file in the bundle names each
 * of them for the next daemon.
 */
export class ExecJobs {
  readonly #context: () => Context;
  readonly #waiting = new Map<string, StaleExec>();
  #timer: NodeJS.Timeout | undefined;
  #ending: Promise<unknown> = Promise.resolve();

  constructor(context: () => Context) {
    this.#context = context;
  }

  /** Polls until nothing of it is left, or its container has ended, whose clean-up includes it. */
  keep(exec: StaleExec): void {
    this.#waiting.set(exec.name, exec);
    this.#timer ??= setInterval(() => this.#poll(), JOB_POLL_MS).unref();
  }

  /** Waits for what is being ended; the rest is left to the next daemon. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#waiting.clear();
    await this.#ending;
  }

  #poll(): void {
    const { containers, kernel, log } = this.#context();
    const due: StaleExec[] = [];
    for (const exec of this.#waiting.values()) {
      const { record, name, hasEnded } = exec;
      const runs = containers.get(record.id)?.state === 'running';
      if (runs && hasEnded && kernel.cgroups.processes(`${record.cgroup.path}/${name}`).length > 0) continue;
      this.#waiting.delete(name);
      if (runs) due.push(exec);
    }
    if (due.length > 0) {
      const op = new Operation('background job exit', { log });
      const ends = due.map((exec) => endExec(this.#context(), exec, op));
      this.#ending = Promise.all([this.#ending, ...ends]);
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
