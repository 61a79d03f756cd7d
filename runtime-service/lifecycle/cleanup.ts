import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId, SandboxId } from '#core/ids.ts';
import { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import { UNDO_TRIES } from '#core/undo.ts';
import type { ContainerIntent, ContainerRecord } from '../container.ts';
import type { CleanupQueue, Context } from '../context.ts';
import { cleanUpRemoved } from './removed-container.ts';
import { ofProcess, undoContainer } from './undo.ts';

export class Cleanups implements CleanupQueue {
  readonly #context: () => Context;
  readonly #exits = new SingleFlight<ContainerId, readonly ContainerIntent[]>();
  readonly #removals = new SingleFlight<ContainerId, void>();
  /** Whose clean-up has not been tried by this daemon yet, or is under way. */
  readonly #removed = new Map<ContainerId, ContainerRecord>();
  readonly #running = new Set<Promise<unknown>>();

  constructor(context: () => Context) {
    this.#context = context;
  }

  /** The removals that an earlier daemon has not finished; `resume` goes on with them. */
  load(removed: readonly ContainerRecord[]): void {
    for (const record of removed) this.#removed.set(record.id, record);
  }

  async resume(): Promise<void> {
    await Promise.all([...this.#removed.keys()].map((id) => this.#finishRemoval(id)));
  }

  afterExit(record: ContainerRecord): Promise<unknown> {
    return this.#track(this.#exits.run(record.id, () => this.#undoProcess(record))).catch((error: unknown) =>
      this.#context().log.warn({ container: record.id, error: describeError(error) }, 'clean-up failed'),
    );
  }

  async #undoProcess(record: ContainerRecord): Promise<readonly ContainerIntent[]> {
    const context = this.#context();
    const { containers, log } = context;
    const op = new Operation('container exit', { log });
    const { left } = await undoContainer(context, record, op, ofProcess);
    await containers.exclusive(record.id, async () => {
      const current = containers.get(record.id);
      if (current?.state !== 'exited') return;
      const freed = { ...current, intents: left, monitor: undefined };
      await containers.commit(freed).catch(() => containers.publish(freed)); // on a full disk they are undone once more
    });
    return left;
  }

  afterRemoval(record: ContainerRecord): void {
    this.#removed.set(record.id, record);
    void this.#finishRemoval(record.id);
  }

  removing(): readonly ContainerRecord[] {
    return [...this.#removed.values()];
  }

  /** The clean-up of a removed container. Never rejects. */
  #finishRemoval(id: ContainerId): Promise<void> {
    const record = this.#removed.get(id);
    if (!record) return Promise.resolve();
    return this.#track(this.#removals.run(id, () => this.#undoRemoved(record)));
  }

  async #undoRemoved(record: ContainerRecord): Promise<void> {
    const op = new Operation('container removal', { log: this.#context().log });
    const left = await this.#exits.get(record.id)?.catch(() => undefined);
    await cleanUpRemoved(this.#context(), left ? { ...record, intents: left } : record, op);
    this.#removed.delete(record.id);
  }

  /**
   * Waits for the clean-ups of a pod's containers, and retries once those that failed. Throws the first failure; the
   * removal of the pod does not wait for those that are given up.
   */
  async settled(sandbox: SandboxId): Promise<void> {
    const { leaks } = this.#context();
    const own = [...this.#removed.values()].filter(({ sandboxId }) => sandboxId === sandbox);
    await Promise.all(own.map(({ id }) => this.#finishRemoval(id)));
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
        hint: 'retry: the removal goes on where it stopped; see the leaks in `crisp ctl info`',
      },
    );
  }

  /** Waits for the clean-ups that run now. */
  async close(): Promise<void> {
    await Promise.allSettled([...this.#running]);
  }

  #track<T>(promise: Promise<T>): Promise<T> {
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
