import { describeError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import type { ImageRecord } from '../image/image.ts';
import type { LayerUsers } from '../ports.ts';
import type { ContentStore } from './content-store.ts';
import type { ImageStore } from './images.ts';
import type { LayerStore } from './layer-store.ts';
import type { Leases } from './leases.ts';
import type { Staging } from './staging.ts';

/** When a run is tried again that could not delete all (a full disk, no descriptors), in ms. */
const RETRY_MS = 30_000;

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
export class Collector implements AsyncDisposable {
  readonly #parts: CollectorParts;
  #running: Promise<void> = Promise.resolve();
  readonly #timers = new Set<NodeJS.Timeout>();
  /** Whether a run is to come because one has failed. */
  #again = false;
  #closed = false;
  /** Records that wait for their image's next pull: what they name and is there is not fetched twice. */
  #waiting: readonly ImageRecord[] = [];

  constructor(parts: CollectorParts) {
    this.#parts = parts;
  }

  /** Spares what these records name. */
  spare(records: readonly ImageRecord[]): void {
    this.#waiting = records;
  }

  /** Whether a spared record names this layer or blob. */
  isSpared(name: string): boolean {
    return this.#waiting.some(({ layers, blobs }) => [...layers, ...blobs].includes(name));
  }

  /** Runs after the delay, in ms. */
  later(delay: number): void {
    const timer = setTimeout(() => {
      this.#timers.delete(timer);
      void this.collect();
    }, delay);
    timer.unref();
    this.#timers.add(timer);
  }

  /** Runs after a while: something could not be deleted. */
  again(): void {
    if (this.#again || this.#closed) return;
    this.#again = true;
    this.later(RETRY_MS);
  }

  /** Runs when the present run has ended. Never rejects: what could not be deleted is tried again after a while. */
  collect(): Promise<void> {
    this.#running = this.#running.then(() => this.#run()).catch((error) => this.#complain(error));
    return this.#running;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const timer of this.#timers) clearTimeout(timer);
    await this.#running;
  }

  /**
   * Begins to delete what no record names, removed images of containers included among the records. For the start:
   * the users must know by then which images are in use. What is doomed is unknown to the stores when this returns.
   */
  distrust(): void {
    this.inBackground(this.#deletions());
  }

  /** Work whose end nobody waits for but the end of the service. */
  inBackground(work: readonly Promise<void>[]): void {
    const before = this.#running;
    this.#running = this.#settle(work).then(() => before);
  }

  async #run(): Promise<void> {
    this.#again = false;
    const { images, users } = this.#parts;
    const isFree = (id: ImageId) => ![...users.imagesInUse()].includes(id);
    // A container may take any of them while the one before is dropped: each is looked at in its turn.
    for (const { id } of images.retired()) await this.#settle([images.dropRetired(id, isFree)]);
    await this.#settle(this.#deletions());
  }

  /** Decided and begun without a pause in between: no pull can lay its hand on what is about to go. */
  #deletions(): Promise<void>[] {
    const { content, images, layers, leases, staging } = this.#parts;
    const alive = [...images.list().map(({ record }) => record), ...this.#waiting];
    const blobs = new Set<string>(alive.flatMap((record) => record.blobs));
    const keys = new Set([...alive, ...images.retired()].flatMap((record) => record.layers));
    const unnamed = layers.keys().filter((key) => !keys.has(key) && !leases.has(key));
    return [
      ...staging.left().map((path) => staging.remove(path)),
      ...(this.#knowsAllUsed() ? unnamed.map((key) => layers.remove(key)) : []),
      ...content
        .digests()
        .filter((one) => !blobs.has(one) && !leases.has(one))
        .map((one) => content.remove(one)),
    ];
  }

  /**
   * Whether the record of each image that a container stands on is there. Where one was lost (a damaged disk) nobody
   * knows which layers are that container's root: none is deleted until the image is pulled again or the container gone.
   */
  #knowsAllUsed(): boolean {
    const { images, users, log } = this.#parts;
    const waiting = new Set<string>(this.#waiting.map(({ id }) => id));
    const lost = [...users.imagesInUse()].find((id) => !images.record(id as ImageId) && !waiting.has(id));
    if (lost !== undefined)
      log.warn({ image: lost }, 'the record of an image in use is lost; layers are kept');
    return lost === undefined;
  }

  async #settle(work: readonly Promise<void>[]): Promise<void> {
    for (const outcome of await Promise.allSettled(work)) {
      if (outcome.status === 'rejected') this.#complain(outcome.reason);
    }
  }

  #complain(error: unknown): void {
    this.#parts.log.warn(
      { error: describeError(error) },
      'could not delete files of images; it will be tried again',
    );
    this.again();
  }
}
