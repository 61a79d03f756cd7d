/** What plugins want of containers that are there: new limits, or their end. */
import type { nri } from '#api/nri/index.ts';
import { CrispError } from '#core/errors.ts';
import { isFullId } from '#core/ids.ts';
import type { AdjustmentOwners, ResourceChanges } from '#core/model/adjustment.ts';
import { ownersOf, resourcesOf } from './build.ts';
import { MergedChanges } from './merge.ts';
import { quoted, type Reader } from './parse/reader.ts';
import { resourceChanges } from './parse/resources.ts';

export interface CollectedUpdate {
  readonly id: string;
  readonly changes: ResourceChanges;
  /** Whether all plugins that have a part in it do without it if it fails. */
  readonly ignoreFailure: boolean;
  /** As `10-name`, in their order. */
  readonly plugins: readonly string[];
  readonly owners: AdjustmentOwners;
}

export interface CollectedEviction {
  readonly id: string;
  /** For people; one line. */
  readonly reason: string;
  readonly plugin: string;
}

/** An update that the plugin can do without, and that is invalid or contradicts another plugin: left out as a whole. */
export interface IgnoredUpdate {
  readonly id: string;
  readonly plugin: string;
  readonly error: CrispError;
}

export interface UpdateOutcome {
  /** In the order in which plugins have named the containers. */
  readonly updates: readonly CollectedUpdate[];
  readonly evictions: readonly CollectedEviction[];
  readonly ignored: readonly IgnoredUpdate[];
}

/** An answer's part that is about containers that are there. */
export interface SentUpdates {
  readonly update: readonly nri.ContainerUpdate[];
  readonly evict?: readonly nri.ContainerEviction[];
}

interface Pending {
  readonly changes: MergedChanges;
  readonly ignoreFailure: boolean;
}

/** Containers that one answer names. */
const MAX_CONTAINERS = 4096;
const MAX_REASON = 1024;

/** The updates of all plugins so far; never changed in place. */
export class Updates {
  readonly #byId: ReadonlyMap<string, Pending>;
  readonly #evictions: readonly CollectedEviction[];
  readonly #ignored: readonly IgnoredUpdate[];

  private constructor(
    byId: ReadonlyMap<string, Pending>,
    evictions: readonly CollectedEviction[],
    ignored: readonly IgnoredUpdate[],
  ) {
    this.#byId = byId;
    this.#evictions = evictions;
    this.#ignored = ignored;
  }

  static readonly none: Updates = new Updates(new Map(), [], []);

  /**
   * These and the next plugin's. `creating` is the container that is being created: it is adjusted, not updated.
   * Throws InvalidArgument and FailedPrecondition as for adjustments.
   */
  with(reader: Reader, sent: SentUpdates, creating?: string): Updates {
    const byId = new Map(this.#byId);
    const ignored = [...this.#ignored];
    for (const update of reader.list('update', sent.update, MAX_CONTAINERS)) {
      const id = idOf(reader, 'update', update.containerId);
      if (id === creating)
        reader.refuse('update', `container ${id} is being created`, 'adjust it in the same answer');
      try {
        const pending = merged(reader, byId.get(id), update);
        if (pending) byId.set(id, pending);
      } catch (error) {
        if (!update.ignoreFailure || !(error instanceof CrispError)) throw error;
        ignored.push({ id, plugin: reader.plugin, error });
      }
    }
    const evictions = [...this.#evictions, ...evictionsOf(reader, sent.evict ?? [], creating)];
    return new Updates(byId, firstOfEach(evictions), ignored);
  }

  changesOf(id: string): ResourceChanges | undefined {
    const pending = this.#byId.get(id);
    return pending && resourcesOf(pending.changes);
  }

  /** Without the container `apart`. */
  outcome(apart?: string): UpdateOutcome {
    const updates = [...this.#byId].flatMap(([id, { changes, ignoreFailure }]): CollectedUpdate[] => {
      const resources = resourcesOf(changes);
      if (id === apart || !resources) return [];
      const plugins = [...new Set([...changes.all()].map(({ plugin }) => plugin))];
      return [{ id, changes: resources, ignoreFailure, plugins, owners: ownersOf(changes) }];
    });
    return { updates, evictions: this.#evictions, ignored: this.#ignored };
  }
}

/** Undefined where the plugin has asked for nothing, and none before it. */
function merged(
  reader: Reader,
  before: Pending | undefined,
  { containerId, linux, ignoreFailure }: nri.ContainerUpdate,
): Pending | undefined {
  const changes = resourceChanges(reader.of(containerId), linux?.resources);
  if (changes.length === 0) return before;
  const known = before ?? { changes: MergedChanges.none, ignoreFailure: true };
  return {
    changes: known.changes.with(reader.plugin, changes, ` of container ${containerId}`),
    ignoreFailure: ignoreFailure && known.ignoreFailure,
  };
}

const idOf = (reader: Reader, field: string, id: string): string =>
  isFullId(id)
    ? id
    : reader.refuse(field, `${quoted(id)} is no container's id`, 'send an id as Synchronize has given it');

function evictionsOf(
  reader: Reader,
  sent: readonly nri.ContainerEviction[],
  creating: string | undefined,
): CollectedEviction[] {
  return reader.list('evict', sent, MAX_CONTAINERS).map(({ containerId, reason }) => {
    const id = idOf(reader, 'evict', containerId);
    if (id === creating)
      reader.refuse('evict', `container ${id} is being created`, 'answer with an error to refuse it');
    const line = reason.slice(0, MAX_REASON).replaceAll(/[\p{Cc}\p{Zl}\p{Zp}]+/gu, ' ');
    return { id, reason: reader.text('evict reason', line).trim(), plugin: reader.plugin };
  });
}

/** A container ends once: for the reason of the first plugin. */
const firstOfEach = (evictions: readonly CollectedEviction[]): CollectedEviction[] =>
  [...new Map(evictions.toReversed().map((one) => [one.id, one])).values()].toReversed();
