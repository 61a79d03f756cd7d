/**
 * What is taken back of containers out of their callers' way: the process's effects behind an exit, and everything
 * behind a removal. A removal is committed by the rename of the record's directory: the record in it lists what is left,
 * so that a daemon that comes later goes on there, and the pod's own removal waits for it and tells what failed.
 */
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import type { ContainerIntent, ContainerRecord } from './container.ts';
import { forgetExit } from './exits.ts';
import type { Runtime } from './runtime.ts';
import { ofProcess, undoContainer } from './undo.ts';

/** The first wait before a failed clean-up is tried again; each further one is twice as long. */
const RETRY_MS = 2000;
const MAX_RETRY_MS = 300_000;

interface Removed {
  record: ContainerRecord;
  failure: unknown;
  wait: number;
  timer: NodeJS.Timeout | undefined;
}

export class CleanUps {
  readonly #runtime: Runtime;
  readonly #ends = new SingleFlight<ContainerId, readonly ContainerIntent[]>();
  readonly #removals = new SingleFlight<ContainerId, void>();
  readonly #removed = new Map<ContainerId, Removed>();
  readonly #running = new Set<Promise<unknown>>();

  /** `removed`: what an earlier daemon has not finished; `resume` goes on with it. */
  constructor(runtime: Runtime, removed: readonly ContainerRecord[]) {
    this.#runtime = runtime;
    for (const record of removed) this.#note(record);
  }

  async resume(): Promise<void> {
    await Promise.all([...this.#removed.keys()].map((id) => this.#finish(id)));
  }

  #note(record: ContainerRecord): void {
    this.#removed.set(record.id, { record, failure: undefined, wait: RETRY_MS, timer: undefined });
  }

  /** Frees what the process of an ended container had. Not to be awaited in the container's turn: it takes one. */
  ended(record: ContainerRecord): Promise<unknown> {
    return this.#kept(this.#ends.run(record.id, () => this.#end(record))).catch((error: unknown) =>
      this.#runtime.log.warn({ container: record.id, error: describeError(error) }, 'clean-up failed'),
    );
  }

  async #end(record: ContainerRecord): Promise<readonly ContainerIntent[]> {
    const { containers, log } = this.#runtime;
    const op = new Operation('container exit', { log });
    const { left } = await undoContainer(this.#runtime, record, op, ofProcess);
    await containers.exclusive(record.id, async () => {
      const current = containers.get(record.id);
      if (current?.state !== 'exited') return;
      const freed = { ...current, intents: left, monitor: undefined };
      await containers.update(freed).catch(() => containers.publish(freed)); // on a full disk they are undone once more
    });
    return left;
  }

  /** Takes back all that a removed container has left, and deletes its files. What fails is tried again. */
  removed(record: ContainerRecord): void {
    this.#note(record);
    void this.#finish(record.id);
  }

  /** The clean-up of a removed container; one more try where none is under way. Never rejects. */
  #finish(id: ContainerId): Promise<void> {
    const removed = this.#removed.get(id);
    if (!removed) return Promise.resolve();
    clearTimeout(removed.timer);
    const again = (error: unknown) => {
      const { log } = this.#runtime;
      log.warn(
        { container: id, error: describeError(error) },
        'a removed container leaves something behind; it is tried again',
      );
      removed.failure = error;
      removed.timer = setTimeout(() => void this.#finish(id), removed.wait).unref();
      removed.wait = Math.min(MAX_RETRY_MS, removed.wait * 2);
    };
    return this.#kept(this.#removals.run(id, () => this.#takeBack(removed).catch(again)));
  }

  async #takeBack(removed: Removed): Promise<void> {
    const { containers, log } = this.#runtime;
    const { id } = removed.record;
    const op = new Operation('container removal', { log });
    const left = await this.#ends.get(id)?.catch(() => undefined);
    if (left) removed.record = { ...removed.record, intents: left };
    const outcome = await undoContainer(this.#runtime, removed.record, op);
    removed.record = { ...removed.record, intents: outcome.left };
    if (outcome.left.length > 0) throw outcome.errors[0];
    await forgetExit(this.#runtime, id);
    await op.stage('delete', () => containers.discard(id));
    this.#removed.delete(id);
  }

  /** Waits for the clean-ups of a pod's removed containers, trying once more what has failed. Throws the first failure. */
  async settled(sandbox: SandboxId): Promise<void> {
    const own = [...this.#removed.values()].filter(({ record }) => record.sandboxId === sandbox);
    await Promise.all(own.map(({ record }) => this.#finish(record.id)));
    const [first] = own.filter(({ record }) => this.#removed.has(record.id));
    if (!first) return;
    const kinds = first.record.intents.map(({ kind }) => kind).join(', ') || 'its files';
    throw new CrispError(
      'Internal',
      `container ${first.record.id}: ${kinds} could not be removed: ${describeError(first.failure)}`,
      { cause: first.failure, hint: 'the removal goes on where it stopped when it is asked again' },
    );
  }

  /** Waits for what is under way; what failed is the next daemon's. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running]);
    for (const { timer } of this.#removed.values()) clearTimeout(timer);
  }

  #kept<T>(promise: Promise<T>): Promise<T> {
    const settled: Promise<void> = promise
      .then(
        () => {},
        () => {},
      )
      .finally(() => this.#running.delete(settled));
    this.#running.add(settled);
    return promise;
  }
}
