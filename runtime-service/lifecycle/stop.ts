import { CrispError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import { type ContainerRecord, mayRun } from '../container.ts';
import type { Context } from '../context.ts';
import { signalNumber } from '../signals.ts';

const SIGTERM = 15;
const MAX_GRACE_MS = 2 ** 31 - 1;

interface Running {
  readonly done: Promise<void>;
  /** When the kill is due, in milliseconds of the monotonic clock. */
  due: number;
  /** Brings the kill forward to a nearer time. */
  hasten(graceMs: number): void;
}

/**
 * StopContainer: signal, grace, kill by the container's cgroup; it returns when the container is EXITED. A second call
 * joins: its signal is not sent again, and a shorter grace brings the kill forward (eviction comes with 0).
 */
export class Stopping {
  readonly #running = new Map<ContainerId, Running>();
  readonly #closing = new AbortController();
  readonly #context: Context;

  constructor(context: Context) {
    this.#context = context;
  }

  /** `graceMs` 0 kills at once. A container that does not run is stopped already. */
  async stop(id: ContainerId, graceMs: number, op: Operation): Promise<void> {
    const grace = Math.min(graceMs, MAX_GRACE_MS);
    const known = this.#context.containers.get(id);
    if (!known || !mayRun(known)) return;
    const running = this.#running.get(id);
    if (running) running.hasten(grace);
    // The stop itself goes on when its client leaves: half a stop helps nobody. It ends with the daemon.
    const stop = running ?? this.#begin(id, grace, op.detached('stop', this.#closing.signal));
    await op.deadline('wait for the end', MAX_GRACE_MS, () => stop.done);
  }

  /** Gives up what is under way: who has asked asks the next daemon again, and nothing is killed behind its back. */
  async close(): Promise<void> {
    this.#closing.abort(
      new CrispError('Unavailable', 'the daemon is stopping', { hint: 'ask again when it is back' }),
    );
    await Promise.allSettled([...this.#running.values()].map(({ done }) => done));
  }

  #begin(id: ContainerId, grace: number, op: Operation): Running {
    const hurry = Promise.withResolvers<void>();
    let timer: NodeJS.Timeout | undefined;
    const arm = (ms: number) => {
      clearTimeout(timer);
      if (ms <= 0) hurry.resolve();
      else timer = setTimeout(hurry.resolve, ms);
    };
    const running: Running = {
      due: performance.now() + grace,
      hasten(ms) {
        const due = performance.now() + ms;
        if (due >= this.due) return;
        this.due = due;
        arm(ms);
      },
      done: this.#carryOut(id, grace, hurry.promise, op).finally(() => {
        clearTimeout(timer);
        this.#running.delete(id);
      }),
    };
    arm(grace);
    this.#running.set(id, running);
    return running;
  }

  async #carryOut(id: ContainerId, grace: number, due: Promise<void>, op: Operation): Promise<void> {
    const { containers } = this.#context;
    // A start under way ends first: there is nothing to signal before it.
    const record = await containers.exclusive(id, async () => containers.get(id));
    if (!record || !mayRun(record)) return;
    this.#context.attachments.hurry(id);
    const ended = this.#ended(id);
    try {
      if (grace > 0) {
        await op.stage('signal', () => this.#signal(record));
        await op.deadline('grace', MAX_GRACE_MS, () => Promise.race([ended.promise, due]));
      }
      if (!ended.settled()) await op.stage('kill', () => this.#kill(record, ended.promise, op));
    } finally {
      ended.forget();
    }
  }

  async #signal(record: ContainerRecord): Promise<void> {
    let number = SIGTERM;
    try {
      number = signalNumber(record.stopSignal);
    } catch (error) {
      this.#context.log.warn(
        { container: record.id, error: String(error) },
        'unknown stop signal; SIGTERM is sent',
      );
    }
    await this.#context.firstSteps.over(record.id);
    if (record.process) this.#context.kernel.processes.signal(record.process, number);
  }

  async #kill(record: ContainerRecord, ended: Promise<void>, op: Operation): Promise<void> {
    const { kernel, options } = this.#context;
    const { path } = record.cgroup;
    await op.deadline(
      'kill cgroup',
      options.timeouts.kill,
      (signal) => kernel.cgroups.kill(path, signal),
      path,
    );
    try {
      await withDeadline('wait for the exit to be told', options.timeouts.kill, op.signal, () => ended);
    } catch (error) {
      throw new CrispError('DeadlineExceeded', `container ${record.id} was killed, but its end is not told`, {
        cause: error,
        hint: `see which processes stay in its cgroup ${path} (state D: a device or file system hangs)`,
      });
    }
  }

  /** Settles when the committed state is no longer one that runs. */
  #ended(id: ContainerId): { promise: Promise<void>; settled(): boolean; forget(): void } {
    const { promise, resolve } = Promise.withResolvers<void>();
    let settled = false;
    const look = () => {
      const record = this.#context.containers.get(id);
      if (record && mayRun(record)) return;
      settled = true;
      resolve();
    };
    const forget = this.#context.containers.onChange((after, before) => {
      if ((after ?? before)?.id === id) look();
    });
    look();
    return { promise, settled: () => settled, forget };
  }
}
