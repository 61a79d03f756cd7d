/** The calls that change the life of a container: which of them join, and which go on when their client has gone. */
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { SharedFlight, SingleFlight } from '#core/single-flight.ts';
import { type ContainerConfig, validateConfig } from './config.ts';
import { type ContainerRecord, containerKey, mayRun } from './container.ts';
import type { Context } from './context.ts';
import { allOfPod } from './lifecycle/all-of-pod.ts';
import { configHash, createContainer, removedMeanwhile } from './lifecycle/create.ts';
import { Grace, MAX_GRACE_MS } from './lifecycle/grace.ts';
import { askToStart } from './lifecycle/plugin-events.ts';
import { cleanUpIncomplete, recoverInterrupted } from './lifecycle/recover.ts';
import { removeContainer } from './lifecycle/remove.ts';
import { refuseStart, startContainer } from './lifecycle/start.ts';
import { stopContainer } from './lifecycle/stop.ts';

/** A client's wait; each step within has a nearer deadline of its own. */
const JOIN_MS = 10 * 60_000;
/** From the beginning of a creation to where the runtime moves the process of a start that follows at once. */
const START_MS = 40;
/**
 * containerd 2 kills an evicted container at once: what it frees is needed now. A short time to end in order is within the
 * 10 s that the plugin's call may take.
 */
const EVICTION_GRACE_MS = 5_000;
const MAX_REASON = 1024;

interface RunningCreation {
  /** Of its configuration. */
  readonly hash: string;
  /** Aborted by the end of its pod: there is to be no container. */
  readonly stopped: AbortController;
}

interface RunningStart {
  /** Aborted by a stop: the container is not to start any more. */
  readonly stopped: AbortController;
  readonly done: Promise<void>;
}

interface RunningStop {
  readonly grace: Grace;
  readonly done: Promise<void>;
}

export class Calls {
  readonly #context: Context;
  /** By name key. */
  readonly #creations = new SingleFlight<string, ContainerId>();
  /** By name key. */
  readonly #creating = new Map<string, RunningCreation>();
  readonly #starts = new SharedFlight<ContainerId, void>();
  readonly #starting = new Map<ContainerId, RunningStart>();
  readonly #stops = new Map<ContainerId, RunningStop>();
  readonly #removals = new SingleFlight<ContainerId, void>();
  readonly #closing = new AbortController();

  constructor(context: Context) {
    this.#context = context;
  }

  /** See `createContainer`. A retry joins, or gets the id that exists. */
  async create(sandbox: SandboxId, config: ContainerConfig, op: Operation): Promise<ContainerId> {
    validateConfig(config);
    this.#context.kernel.cgroups.expectTaskMigration(START_MS); // of the start that mostly follows at once
    const key = containerKey(sandbox, config.metadata);
    const hash = configHash(config);
    const create = async (): Promise<ContainerId> => {
      const stopped = new AbortController();
      this.#creating.set(key, { hash, stopped });
      await cleanUpIncomplete(this.#context, key, op);
      const under = op.under(AbortSignal.any([op.signal, stopped.signal]));
      return createContainer(this.#context, { sandbox, config, hash }, under);
    };
    for (;;) {
      op.checkpoint();
      const joined = this.#creations.get(key) !== undefined;
      if (joined && this.#creating.get(key)?.hash !== hash) throw beingCreated(config);
      try {
        return await this.#creations.run(key, () => create().finally(() => this.#creating.delete(key)));
      } catch (error) {
        // The first caller has gone, this one has not: it starts anew.
        if (!joined || !hasCode(error, 'Cancelled') || op.signal.aborted) throw error;
      }
    }
  }

  /** See `startContainer`. A retry joins, and the start goes on as long as one of its callers waits. */
  start(id: ContainerId, op: Operation): Promise<void> {
    return op.deadline('start', JOIN_MS, (signal) =>
      this.#starts.run(id, signal, (shared) => this.#startInTurn(id, op.under(shared))),
    );
  }

  /**
   * See `stopContainer`. `graceMs` 0 kills at once. A container that does not run is stopped already; one whose start has
   * not launched it yet does not start any more. A second call joins: its signal is not sent again, and a shorter grace
   * brings the kill forward (eviction comes with 0).
   */
  async stop(id: ContainerId, graceMs: number, op: Operation): Promise<void> {
    const limit = Math.min(graceMs, MAX_GRACE_MS);
    if (this.#context.containers.get(id)?.state === 'created') await this.#endStart(id, op);
    const known = this.#context.containers.get(id);
    if (!known || !mayRun(known)) return;
    const running = this.#stops.get(id);
    running?.grace.shorten(limit);
    // The stop itself goes on when its client leaves. It ends with the daemon.
    const stop = running ?? this.#beginStop(id, limit, op.detached('stop', this.#closing.signal));
    await op.deadline('wait for exit', MAX_GRACE_MS, () => stop.done);
  }

  /**
   * Stops a container because an NRI plugin wants it, which its exit says. The reason is cut to a line of 1024 characters. One
   * that does not run is left as it is.
   */
  async evict(id: ContainerId, reason: string, op: Operation): Promise<void> {
    const { containers } = this.#context;
    const eviction = reason.replaceAll(/\p{Cc}+/gu, ' ').slice(0, MAX_REASON);
    await containers.exclusive(id, async () => {
      const record = containers.get(id);
      if (record && mayRun(record)) await containers.commit({ ...record, eviction });
    });
    await this.stop(id, EVICTION_GRACE_MS, op);
  }

  /** Goes on, in the background, with the evictions that an earlier daemon has begun and not finished. */
  resumeEvictions(): void {
    const { containers, log } = this.#context;
    for (const record of containers.list()) {
      if (record.eviction === undefined || !mayRun(record)) continue;
      const { id } = record;
      void this.stop(id, EVICTION_GRACE_MS, new Operation('evict', { log })).catch((error: unknown) =>
        log.warn(
          { container: id, error: describeError(error) },
          'an evicted container is not stopped; the next start of the daemon tries again',
        ),
      );
    }
  }

  /**
   * Kills all containers of a pod that is not ready any more, without grace: see `allOfPod`. Nothing uses its volumes then
   * (see `VolumeLabels.release`).
   */
  async stopAll(sandbox: SandboxId, op: Operation): Promise<void> {
    const { containers, volumeLabels } = this.#context;
    await Promise.all([
      allOfPod(containers, sandbox, 'stopped', ({ id }) => this.stop(id, 0, op)),
      volumeLabels.release(sandbox, op),
    ]);
  }

  /**
   * See `removeContainer`. One that does not exist (any more) is removed already. Throws what keeps it running, or
   * listed; a retry goes on.
   */
  remove(id: ContainerId, op: Operation): Promise<void> {
    // It goes on when its client leaves: the cancellation of one client is no error of those that joined.
    const removal = this.#removals.run(id, () => this.#stopAndRemove(id, op.detached('remove')));
    return op.deadline('remove', JOIN_MS, () => removal);
  }

  /**
   * Aborts the stops under way: clients retry at the next daemon, and nothing is killed meanwhile. Starts end with their
   * callers, and are waited for.
   */
  async close(): Promise<void> {
    this.#closing.abort(
      new CrispError('Unavailable', 'the daemon is stopping', { hint: 'retry when it runs again' }),
    );
    await Promise.allSettled([...this.#stops.values()].map(({ done }) => done));
    await this.#starts.settled();
  }

  async #startInTurn(id: ContainerId, op: Operation): Promise<void> {
    const stopped = new AbortController();
    const under = op.under(AbortSignal.any([op.signal, stopped.signal]));
    const done = this.#askAndStart(id, under);
    this.#starting.set(id, { stopped, done });
    await done.finally(() => this.#starting.delete(id));
  }

  async #askAndStart(id: ContainerId, op: Operation): Promise<void> {
    const { containers } = this.#context;
    try {
      await askToStart(this.#context, id, op);
    } catch (error) {
      if (!hasCode(error, 'Cancelled'))
        await containers.exclusive(id, () => refuseStart(this.#context, id, error, op));
      throw error;
    }
    await containers.exclusive(id, async () => {
      try {
        await recoverInterrupted(this.#context, id, op);
        await startContainer(this.#context, id, op);
      } catch (error) {
        if (hasCode(error, 'Aborted')) await refuseStart(this.#context, id, error, op);
        throw error;
      }
    });
  }

  /** What waits for its turn, or for plugins, leaves no state by which a stop would see it. */
  async #endStart(id: ContainerId, op: Operation): Promise<void> {
    const start = this.#starting.get(id);
    if (!start) return;
    const hint = 'create the next attempt';
    start.stopped.abort(new CrispError('Aborted', `container ${id} was stopped before it ran`, { hint }));
    await op.deadline('end start', JOIN_MS, () => start.done.catch(() => {}));
  }

  /** Its own rollback removes it. One that does not end soon (a mount source hangs) finds at its end that it is removed. */
  async #endCreation({ id, sandboxId, metadata }: ContainerRecord, op: Operation): Promise<void> {
    const { log, options } = this.#context;
    const key = containerKey(sandboxId, metadata);
    const creation = this.#creations.get(key);
    if (!creation) return; // an earlier daemon's
    this.#creating.get(key)?.stopped.abort(removedMeanwhile(id));
    try {
      await op.deadline('end creation', options.timeouts.kill, () => creation.catch(() => {}));
    } catch (error) {
      log.warn(
        { container: id, error: describeError(error) },
        'a container is removed while it is being made',
      );
    }
  }

  #beginStop(id: ContainerId, graceMs: number, op: Operation): RunningStop {
    const grace = new Grace(graceMs);
    const done = stopContainer(this.#context, id, grace, op).finally(() => {
      grace[Symbol.dispose]();
      this.#stops.delete(id);
    });
    const stop = { grace, done };
    this.#stops.set(id, stop);
    return stop;
  }

  async #stopAndRemove(id: ContainerId, op: Operation): Promise<void> {
    const record = this.#context.containers.get(id);
    if (record?.state === 'creating') await this.#endCreation(record, op);
    await this.stop(id, 0, op);
    await this.#context.containers.exclusive(id, () => removeContainer(this.#context, id, op));
    if (record) await this.#context.volumeLabels.release(record.sandboxId, op);
  }
}

const beingCreated = ({ metadata: { name, attempt } }: ContainerConfig): CrispError =>
  new CrispError(
    'AlreadyExists',
    `container ${name} attempt ${attempt} of this pod is being created with another configuration`,
    { hint: 'wait for that call, or create the next attempt' },
  );
