import type { nri } from '#api/nri/index.ts';
import { CrispError, describeError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import {
  type CollectedEviction,
  type CollectedUpdate,
  UpdateCollector,
  type UpdateOutcome,
} from './adjust/index.ts';
import type { Plugin } from './plugin.ts';
import type { NriDaemon } from './ports.ts';

/** How long one container may take, its turn among other calls included, in ms. */
const APPLY_MS = 30_000;
/** How long what a plugin has asked waits for the end of a container that it evicts, which goes on. */
const EVICT_MS = 10_000;
const MAX_UPDATES = 4096;
/** Containers that are changed at the same time: each executes the OCI runtime. */
const AT_ONCE = 4;

export interface FailedUpdate {
  readonly id: string;
  readonly error: unknown;
}

/** What plugins want of containers other than the one that they were asked about: in the order of their answers for each container. */
export class Updates {
  readonly #daemon: Pick<NriDaemon, 'update' | 'evict'>;
  readonly #queue = new KeyedQueue<string>();
  readonly #places = new KeyedQueue<number>();
  #next = 0;

  constructor(daemon: Pick<NriDaemon, 'update' | 'evict'>) {
    this.#daemon = daemon;
  }

  /** Resolves to those that have failed and may not. Evictions that fail are logged alone, as elsewhere. Never throws. */
  async apply(
    { updates, evictions, ignored }: UpdateOutcome,
    op: Operation,
  ): Promise<readonly FailedUpdate[]> {
    for (const { id, plugin, error } of ignored)
      op.log.warn(
        { plugin, container: id, error: describeError(error) },
        'an update by an NRI plugin is left out',
      );
    const evicted = evictions.map((eviction) => this.#evict(eviction, op));
    const failed = await Promise.all(updates.map((update) => this.#update(update, op)));
    await Promise.all(evicted);
    return failed.flatMap((one) => (one ? [one] : []));
  }

  /** The same; throws the first failure. */
  async applyAll(outcome: UpdateOutcome, op: Operation): Promise<void> {
    const [failed] = await this.apply(outcome, op);
    if (failed) throw failed.error;
  }

  /** A plugin's own UpdateContainers: its answer. */
  async unsolicited(
    plugin: Plugin,
    request: nri.UpdateContainersRequest,
    op: Operation,
  ): Promise<nri.UpdateContainersResponseInit> {
    const { update, evict } = request;
    if (plugin.state !== 'active' && plugin.state !== 'synchronizing')
      throw new CrispError(
        'FailedPrecondition',
        `plugin ${plugin.id} updates containers before it is configured`,
        {
          hint: 'call UpdateContainers after Synchronize',
        },
      );
    if (update.length + evict.length > MAX_UPDATES)
      throw new CrispError(
        'InvalidArgument',
        `plugin ${plugin.id} updates more than ${MAX_UPDATES} containers at once`,
        {
          hint: 'send them in several calls',
        },
      );
    const collector = new UpdateCollector();
    collector.add(plugin.id, { update, evict });
    const failed = new Set((await this.apply(collector.outcome(), op)).map(({ id }) => id));
    return { failed: update.filter(({ containerId }) => failed.has(containerId)) };
  }

  /** After what was wanted of this container before, and in one of few places. */
  #inTurn<T>(id: string, act: () => Promise<T>): Promise<T> {
    return this.#queue.run(id, () => this.#places.run(this.#next++ % AT_ONCE, act));
  }

  async #update(
    { id, changes, ignoreFailure, plugins }: CollectedUpdate,
    op: Operation,
  ): Promise<FailedUpdate | undefined> {
    const names = plugins.join(', ');
    try {
      await this.#inTurn(id, () =>
        op.deadline(
          'update by NRI plugin',
          APPLY_MS,
          () => this.#daemon.update(id as ContainerId, changes, op),
          id,
        ),
      );
      op.log.debug({ plugins: names, container: id }, 'an NRI plugin has updated a container');
      return undefined;
    } catch (error) {
      if (hasCode(error, 'NotFound')) return undefined;
      op.log.warn(
        { plugins: names, container: id, error: describeError(error), ignored: ignoreFailure },
        'an update by an NRI plugin has failed',
      );
      return ignoreFailure ? undefined : { id, error: ofPlugins(names, id, error) };
    }
  }

  async #evict({ id, reason, plugin }: CollectedEviction, op: Operation): Promise<void> {
    op.log.warn({ plugin, container: id, reason }, 'an NRI plugin evicts a container');
    try {
      await this.#inTurn(id, () =>
        op.deadline(
          'eviction by NRI plugin',
          EVICT_MS,
          () => this.#daemon.evict(id as ContainerId, reason, op),
          id,
        ),
      );
    } catch (error) {
      // The stop itself goes on: a process that the kernel does not let die holds it up.
      const lasts = hasCode(error, 'DeadlineExceeded');
      op.log.warn(
        { plugin, container: id, error: describeError(error) },
        lasts
          ? 'an eviction by an NRI plugin lasts longer than usual; it goes on'
          : 'an eviction by an NRI plugin has failed',
      );
    }
  }
}

const ofPlugins = (plugins: string, id: string, cause: unknown): CrispError =>
  new CrispError(
    'FailedPrecondition',
    `the update of container ${id} that NRI plugin ${plugins} wants has failed`,
    {
      cause,
      hint: 'see what the plugin asks of that container; or stop the plugin',
    },
  );
