/**
 * What remains of commands that have ended: background jobs, which have no limits but the container's, in the command's
 * cgroup, which is removed once they have ended; and commands that could not be killed at once. A file in the bundle
 * names each of them for the next daemon.
 */
import { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { endExec, type StaleExec } from './stale-execs.ts';

/** Nothing waits for the end of a job: its empty cgroup may exist a little longer. */
const POLL_MS = 1000;

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
    this.#timer ??= setInterval(() => this.#poll(), POLL_MS).unref();
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
