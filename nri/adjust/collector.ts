/**
 * Puts the answers of plugins together, in their order. Each plugin sees what those before it have changed; an answer is taken as
 * a whole or refused as a whole, and none of it is in force before the last plugin has answered.
 */
import type { nri } from '#api/nri/index.ts';
import { CrispError } from '#core/errors.ts';
import type { AdjustmentOwners, ContainerAdjustment, ResourceChanges } from '#core/model/adjustment.ts';
import { adjusted, withChanges } from '../messages/index.ts';
import { adjustmentOf, ownersOf } from './build.ts';
import { MergedChanges } from './merge.ts';
import { adjustmentChanges } from './parse/index.ts';
import { Reader } from './parse/reader.ts';
import { type SentUpdates, type UpdateOutcome, Updates } from './updates.ts';

export interface CreateOutcome extends UpdateOutcome {
  /** Undefined: nothing changes. */
  readonly adjustment: ContainerAdjustment | undefined;
  readonly owners: AdjustmentOwners;
}

/** Bytes of text of all answers together: they become one record. */
const MAX_TEXT = 4 * 1024 * 1024;

/** For CreateContainer. */
export class CreateCollector {
  readonly #pristine: nri.ContainerInit;
  #container: nri.ContainerInit;
  #changes = MergedChanges.none;
  #updates = Updates.none;
  #bytes = 0;

  /** The container as containerMessage gives it. */
  constructor(container: nri.ContainerInit) {
    this.#pristine = container;
    this.#container = container;
  }

  /** As the next plugin is to see it. */
  get container(): nri.ContainerInit {
    return this.#container;
  }

  /**
   * Takes the answer of a plugin (`10-name`), or nothing of it where it throws: InvalidArgument for what is wrong by itself,
   * FailedPrecondition for what contradicts another plugin, ResourceExhausted where all answers together are too large.
   */
  add(plugin: string, response: nri.CreateContainerResponse): void {
    const reader = new Reader(plugin);
    const changes = this.#changes.with(plugin, adjustmentChanges(reader, response.adjust));
    const updates = this.#updates.with(reader, response, this.#pristine.id);
    const bytes = withinLimit(this.#bytes + reader.bytes, plugin);
    const adjustment = adjustmentOf(changes);
    this.#container = adjustment ? adjusted(this.#pristine, adjustment) : this.#pristine;
    this.#changes = changes;
    this.#updates = updates;
    this.#bytes = bytes;
  }

  outcome(): CreateOutcome {
    return {
      ...this.#updates.outcome(),
      adjustment: adjustmentOf(this.#changes),
      owners: ownersOf(this.#changes),
    };
  }
}

/** For UpdateContainer, and without a container of its own for StopContainer, Synchronize and UpdateContainers. */
export class UpdateCollector {
  readonly #request:
    | { readonly id: string; readonly resources: nri.LinuxResourcesInit | undefined }
    | undefined;
  #updates = Updates.none;
  #bytes = 0;

  /** `resources` are those that the kubelet wants, as resourcesMessage gives them. */
  constructor(request?: { readonly id: string; readonly resources: nri.LinuxResourcesInit | undefined }) {
    this.#request = request;
  }

  /** Those that the next plugin is to see. */
  get resources(): nri.LinuxResourcesInit | undefined {
    const changes = this.#request && this.#updates.changesOf(this.#request.id);
    return changes ? withChanges(this.#request?.resources, changes) : this.#request?.resources;
  }

  /** As in CreateCollector. */
  add(plugin: string, response: SentUpdates): void {
    const reader = new Reader(plugin);
    const updates = this.#updates.with(reader, response);
    this.#bytes = withinLimit(this.#bytes + reader.bytes, plugin);
    this.#updates = updates;
  }

  /** What is for the request's own container is in `requested` alone: over what the kubelet wants; undefined: nothing. */
  outcome(): UpdateOutcome & { readonly requested: ResourceChanges | undefined } {
    const id = this.#request?.id;
    return {
      ...this.#updates.outcome(id),
      requested: id === undefined ? undefined : this.#updates.changesOf(id),
    };
  }
}

function withinLimit(bytes: number, plugin: string): number {
  if (bytes <= MAX_TEXT) return bytes;
  throw new CrispError(
    'ResourceExhausted',
    `NRI plugin ${plugin}: its answer and those before it have more than ${MAX_TEXT} bytes of text`,
    { hint: 'have the plugins change less at once' },
  );
}
