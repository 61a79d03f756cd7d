/**
 * What commands leave behind in a container when they have ended: jobs in the background, which nothing bounds but the
 * container's own limits, in the command's cgroup, which is removed once they have ended; and commands that could not be
 * killed at once. A file beside the bundle's others tells the next daemon of each.
 */
import { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { endExec, type StaleExec } from './stale-execs.ts';

/** Nothing waits for the end of a job: its empty cgroup may stand a little. */
const LOOK_MS = 1000;

export class ExecJobs {
  readonly #context: () => Context;
  readonly #waiting = new Map<string, StaleExec>();
  #timer: NodeJS.Timeout | undefined;
  #looking: Promise<unknown> = Promise.resolve();

  constructor(context: () => Context) {
    this.#context = context;
  }

  /** Looks after it until nothing of it is left, or its container has ended, whose end takes it along. */
  keep(exec: StaleExec): void {
    this.#waiting.set(exec.name, exec);
    this.#timer ??= setInterval(() => this.#look(), LOOK_MS).unref();
  }

  /** What is under way is waited for; the rest is the next daemon's. */
  async close(): Promise<void> {
    clearInterval(this.#timer);
    this.#timer = undefined;
    this.#waiting.clear();
    await this.#looking;
  }

  #look(): void {
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
      const op = new Operation('end of a job', { log });
      const ends = due.map((exec) => endExec(this.#context(), exec, op));
      this.#looking = Promise.all([this.#looking, ...ends]);
    }
    if (this.#waiting.size > 0) return;
    clearInterval(this.#timer);
    this.#timer = undefined;
  }
}
