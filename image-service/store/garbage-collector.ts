import { describeError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import type { LayerUsers } from '../ports.ts';
import type { ContentStore } from './content-store.ts';
import type { ImageStore } from './images.ts';
import type { LayerStore } from './layer-store.ts';
import type { Leases } from './leases.ts';
import type { Staging } from './staging.ts';

/** When an incomplete run is retried (a full disk, no descriptors), in ms. */
const RETRY_MS = 30_000;

/** What a run leaves where it is, by the keys of layers. */
type Kept = (layer: string) => boolean;
const nothing: Kept = () => false;

export interface CollectorParts {
  readonly content: ContentStore;
  readonly images: ImageStore;
  readonly layers: LayerStore;
  readonly leases: Leases;
  readonly staging: Staging;
  readonly users: LayerUsers;
  readonly log: Log;
}

/** Deletes the files that no image, no container and no pull needs. One run at a time. */
export class GarbageCollector implements AsyncDisposable {
  readonly #parts: CollectorParts;
  #running: Promise<void> = Promise.resolve();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Whether a retry is scheduled. */
  #retryScheduled = false;
  #closed = false;

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /** Runs after the delay, in ms. */
  schedule(delay: number, isKept = nothing): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.collect(isKept);
    }, delay);
    timer.unref();
    this.#timers.add(timer);
  }

  /** Schedules a retry: something could not be deleted. */
  retryLater(): void {
    if (this.#retryScheduled || this.#closed) return;
    this.#retryScheduled = true;
    this.schedule(RETRY_MS);
  }

  /** Runs when the current run has ended. Never rejects: what could not be deleted is retried later. */
  collect(isKept = nothing): Promise<void> {
    this.#running = this.#running.then(() => this.#run(isKept)).catch((error) => this.#logError(error));
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#running;
  }

  /**
   * Starts to delete what no record names; removed images in use count as records. For the start of the daemon: the users
   * must know by then which images are in use. The stores no longer list what is being deleted when this returns. Layers that
   * `isKept` stay for the retry of a pull that was cut short, until the next run, which begins after `keepMs` at the latest.
   */
  dropUnreferenced(isKept: Kept, keepMs: number): void {
    this.inBackground(this.#deletions(isKept));
    // An image that was removed before the last daemon ended, and that no container uses, is deleted in the background, too.
    this.schedule(0, isKept);
    this.schedule(keepMs);
  }

  /** Work that only the shutdown of the service waits for. */
  inBackground(work: readonly Promise<void>[]): void {
    const before = this.#running;
    this.#running = this.#settle(work).then(() => before);
  }

  async #run(isKept: Kept): Promise<void> {
    this.#retryScheduled = false;
    const { images, users } = this.#parts;
    const isFree = (id: ImageId) => ![...users.imagesInUse()].includes(id);
    // A container may start to use any of them while another is purged: each is checked in turn.
    for (const { id } of images.removedInUse()) await this.#settle([images.purge(id, isFree)]);
    await this.#settle(this.#deletions(isKept));
  }

  /** Decided and started synchronously: no pull can start to use what is being deleted. */
  #deletions(isKept: Kept): Promise<void>[] {
    const { content, images, layers, leases, staging } = this.#parts;
    const alive = [...images.list().map(({ record }) => record), ...images.hidden()];
    const blobs = new Set<string>(alive.flatMap((record) => record.blobs));
    const keys = new Set([...alive, ...images.removedInUse()].flatMap((record) => record.layers));
    const unreferenced = layers.keys().filter((key) => !keys.has(key) && !leases.has(key) && !isKept(key));
    return [
      ...staging.leftovers().map((path) => staging.remove(path)),
      ...layers.releaseRemoved(),
      ...(this.#hasRecordsOfAllUsed() ? unreferenced.map((key) => layers.remove(key)) : []),
      ...content
        .digests()
        .filter((one) => !blobs.has(one) && !leases.has(one))
        .map((one) => content.remove(one)),
    ];
  }

  /**
   * Whether there is a record of each image that a container uses. If one was lost (a damaged disk) it is unknown which
   * layers are that container's root: none is deleted until the image is pulled again or the container is removed.
   */
  #hasRecordsOfAllUsed(): boolean {
    const { images, users, log } = this.#parts;
    const hidden = new Set<string>(images.hidden().map(({ id }) => id));
    const lost = [...users.imagesInUse()].find((id) => !images.record(id as ImageId) && !hidden.has(id));
    if (lost !== undefined)
      log.warn({ image: lost }, 'the record of an image in use is lost; layers are kept');
    return lost === undefined;
  }

  async #settle(work: readonly Promise<void>[]): Promise<void> {
    for (const outcome of await Promise.allSettled(work)) {
      if (outcome.status === 'rejected') this.#logError(outcome.reason);
    }
  }

  #logError(error: unknown): void {
    this.#parts.log.warn(
      { error: describeError(error) },
      'could not delete files of images; will be retried',
    );
    this.retryLater();
  }
}
