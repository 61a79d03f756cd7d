import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { SingleFlight } from '#core/single-flight.ts';
import { forgetExit } from './exits.ts';
import type { Runtime } from './runtime.ts';
import type { Stopping } from './stop.ts';
import { undoContainer } from './undo.ts';

/** A client's wait; each step within has a nearer deadline of its own. */
const JOIN_MS = 10 * 60_000;

/** RemoveContainer: ends what runs, takes back every effect, frees the name. Its log stays: it is the kubelet's. */
export class Removal {
  readonly #flights = new SingleFlight<ContainerId, void>();
  readonly #runtime: Runtime;
  readonly #stopping: Stopping;

  constructor(runtime: Runtime, stopping: Stopping) {
    this.#runtime = runtime;
    this.#stopping = stopping;
  }

  /** One that does not exist (any more) is removed already. Throws what keeps an effect in place; a retry goes on. */
  remove(id: ContainerId, op: Operation): Promise<void> {
    // It goes on when its client leaves, and those who joined are not told of that client's leaving.
    const removal = this.#flights.run(id, () => this.#carryOut(id, op.detached('remove')));
    return op.deadline('remove', JOIN_MS, () => removal);
  }

  async #carryOut(id: ContainerId, op: Operation): Promise<void> {
    await this.#stopping.stop(id, 0, op);
    await this.#runtime.containers.exclusive(id, () => this.#remove(id, op));
  }

  async #remove(id: ContainerId, op: Operation): Promise<void> {
    const { containers } = this.#runtime;
    const record = containers.get(id);
    if (!record) return;
    const { left, errors } = await undoContainer(this.#runtime, record, op);
    if (left.length > 0) {
      await containers.settle({ ...record, intents: left });
      throw new CrispError(
        'Internal',
        `container ${id}: ${left.map(({ kind }) => kind).join(', ')} could not be removed: ${describeError(errors[0])}`,
        {
          cause: errors[0],
          hint: 'the removal goes on where it stopped when it is asked again',
        },
      );
    }
    await forgetExit(this.#runtime, id);
    await op.stage('delete', () => containers.remove(record));
  }
}
