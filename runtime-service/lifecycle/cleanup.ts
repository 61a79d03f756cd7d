import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import { UNDO_TRIES } from '#core/undo.ts';
import type { ContainerIntent, ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { takeBack } from './removed-container.ts';
import { ofProcess, undoContainer } from './undo.ts';

export class Cleanups {
  readonly #context: Context;
  readonly #ends = new SingleFlight<ContainerId, readonly ContainerIntent[]>();
  readonly #removals = new SingleFlight<ContainerId, void>();
  /** Whose clean-up has not been tried by this daemon yet, or is under way. */
  readonly #removed = new Map<ContainerId, ContainerRecord>();
  readonly #running = new Set<Promise<unknown>>();

  /** `removed`: what an earlier daemon has not finished; `resume` goes on with it. */
  constructor(context: Context, removed: readonly ContainerRecord[]) {
    this.#context = context;
    for (const record of removed) this.#removed.set(record.id, record);
  }

  async resume(): Promise<void> {
    await Promise.all([...this.#removed.keys()].map((id) => this.#finish(id)));
  }

  /** Frees what the process of an ended container had. Not to be awaited in the container's turn: it takes one. */
  ended(record: ContainerRecord): Promise<unknown> {
    return this.#kept(this.#ends.run(record.id, () => this.#end(record))).catch((error: unknown) =>
      this.#context.log.warn({ container: record.id, error: describeError(error) }, 'clean-up failed'),
    );
  }

  async #end(record: ContainerRecord): Promise<readonly ContainerIntent[]> {
    const { containers, log } = this.#context;
    const op = new Operation('container exit', { log });
    const { left } = await undoContainer(this.#context, record, op, ofProcess);
    await containers.exclusive(record.id, async () => {
      const current = containers.get(record.id);
      if (current?.state !== 'exited') return;
      const freed = { ...current, intents: left, monitor: undefined };
      await containers.update(freed).catch(() => containers.publish(freed)); // on a full disk they are undone once more
    });
    return left;
  }

  /** Takes back all that a removed container has left, and deletes its files. What fails is listed as a leak. */
  removed(record: ContainerRecord): void {
    this.#removed.set(record.id, record);
    void this.#finish(record.id);
  }

  /** The clean-up of a removed container. Never rejects. */
  #finish(id: ContainerId): Promise<void> {
    const record = this.#removed.get(id);
    if (!record) return Promise.resolve();
    return this.#kept(this.#removals.run(id, () => this.#takeBack(record)));
  }

  async #takeBack(record: ContainerRecord): Promise<void> {
    const op = new Operation('container removal', { log: this.#context.log });
    const left = await this.#ends.get(record.id)?.catch(() => undefined);
    await takeBack(this.#context, left ? { ...record, intents: left } : record, op);
    this.#removed.delete(record.id);
  }

  /**
   * Waits for the clean-ups of a pod's containers, trying once more what has failed. Throws the first failure, until what
   * has failed is given up: then the pod's end waits for it no more.
   */
  async settled(sandbox: SandboxId): Promise<void> {
    const { leaks } = this.#context;
    const own = [...this.#removed.values()].filter(({ sandboxId }) => sandboxId === sandbox);
    await Promise.all(own.map(({ id }) => this.#finish(id)));
    const waiting = () =>
      leaks.of(({ sandboxId }) => sandboxId === sandbox).filter(({ givenUp }) => !givenUp);
    await Promise.all(waiting().map(({ id }) => leaks.retry(id)));
    const [first] = waiting();
    if (!first) return;
    const { id, kinds, error, tries } = first;
    throw new CrispError(
      'Internal',
      `container ${id}: ${kinds.join(', ')} could not be removed: ${error} (try ${tries} of ${UNDO_TRIES}, then it is given up)`,
      {
        hint: 'the removal goes on where it stopped when it is asked again; see the leaks in `crisp ctl info`',
      },
    );
  }

  /** Waits for what is under way. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running]);
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
