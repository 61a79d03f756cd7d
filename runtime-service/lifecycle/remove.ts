import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import type { Context } from '../context.ts';
import type { Cleanups } from './cleanup.ts';
import type { Stopping } from './stop.ts';

/** A client's wait; each step within has a nearer deadline of its own. */
const JOIN_MS = 10 * 60_000;

/**
 * RemoveContainer: ends what runs and frees the name; its effects and files are taken back behind that (`Cleanups`). Its
 * log stays: it is the kubelet's.
 */
export class Removal {
  readonly #flights = new SingleFlight<ContainerId, void>();
  readonly #context: Context;
  readonly #stopping: Stopping;
  readonly #cleanups: Pick<Cleanups, 'removed'>;

  constructor(context: Context, stopping: Stopping, cleanups: Pick<Cleanups, 'removed'>) {
    this.#context = context;
    this.#stopping = stopping;
    this.#cleanups = cleanups;
  }

  /** One that does not exist (any more) is removed already. Throws what keeps it running, or listed; a retry goes on. */
  remove(id: ContainerId, op: Operation): Promise<void> {
    // It goes on when its client leaves, and those who joined are not told of that client's leaving.
    const removal = this.#flights.run(id, () => this.#carryOut(id, op.detached('remove')));
    return op.deadline('remove', JOIN_MS, () => removal);
  }

  async #carryOut(id: ContainerId, op: Operation): Promise<void> {
    await this.#stopping.stop(id, 0, op);
    await this.#context.containers.exclusive(id, () => this.#remove(id, op));
  }

  async #remove(id: ContainerId, op: Operation): Promise<void> {
    const { containers } = this.#context;
    const record = containers.get(id);
    if (!record) return;
    await op.stage('mark removed', () => containers.markRemoved(record));
    this.#cleanups.removed(record);
  }
}
