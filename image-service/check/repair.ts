import { CrispError, describeError } from '#core/errors.ts';
import type { ImageId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Image, ImageRecord } from '../image/image.ts';
import type { Finding } from './findings.ts';
import { type CheckedStores, isPromised, nameOf } from './objects.ts';
import { layerOfBlob } from './stored-manifest.ts';

export interface RepairParts extends CheckedStores {
  /** Pulls by digest, with the credentials of the node. */
  readonly pull: (reference: string, op: Operation) => Promise<Image>;
  readonly remove: (id: ImageId, op: Operation) => Promise<void>;
  readonly keepBlobs: boolean;
}

/** What became of a finding; `hint` where it could not be repaired. */
export type Repair =
  | { readonly repaired: true; readonly message: string }
  | { readonly repaired: false; readonly message: string; readonly hint: string };

const WITH_CREDENTIALS =
  'correct that, or pull one of its images with its credentials (`crisp ctl pull --creds`): any pull replaces what is damaged';

/**
 * Repairs what a check has found, by pulling an image of each object again, by the digest under which it was pulled: what
 * is whole is not fetched. One image is pulled once.
 */
export class Repairs {
  readonly #parts: RepairParts;
  /** What a pull in this run came to: undefined, it succeeded. */
  readonly #pulls = new Map<ImageId, Promise<string | undefined>>();
  readonly #removed: ReadonlySet<string>;

  /** `removed`: images that clients have removed, and not pulled, since this run began; it changes meanwhile. */
  constructor(parts: RepairParts, removed: ReadonlySet<string>) {
    this.#parts = parts;
    this.#removed = removed;
  }

  /** To be called for each finding before the first repair: all that is damaged of an image is made by its one pull. */
  async condemn({ object }: Finding): Promise<void> {
    const { content, layers } = this.#parts;
    if (!isPromised(object, this.#parts)) return;
    if (object.kind === 'layer') layers.suspect(object.name);
    if (object.kind !== 'blob' || !object.images.some(({ digests }) => digests.length > 0)) return;
    for (const record of this.#parts.keepBlobs ? object.images : []) {
      const key = await layerOfBlob(object.digest, record, content);
      if (key !== undefined) layers.suspect(key); // the blob comes with its layer
    }
    // The files of an artifact are links to its blobs.
    for (const { artifactType, layers: keys } of object.images)
      if (artifactType !== undefined) for (const key of keys) layers.suspect(key);
    await content.remove(object.digest);
  }

  /** Throws the reason of the operation's cancellation. */
  async repair({ object, fault }: Finding, op: Operation): Promise<Repair> {
    const { images, content } = this.#parts;
    const usable = object.images.filter(
      (record) => images.find(record.id) !== undefined || images.hidden().includes(record),
    );
    const isUsed = object.images.some((record) => images.removedInUse().includes(record));
    if (usable.length === 0 && !isUsed) return { repaired: true, message: 'its image was removed meanwhile' };
    if (usable.length === 0)
      return impossible(
        'its image was removed, and only containers still use it',
        'create these containers again',
      );
    const origins = usable.filter(({ digests }) => digests.length > 0);
    if (origins.length === 0) {
      const names = usable.map(nameOf).join(', ');
      return impossible(
        `no registry is known that ${names} came from: it was imported`,
        'import the archive again, after removing the image',
      );
    }
    const isSpare = object.kind === 'blob' && !this.#parts.keepBlobs;
    if (isSpare && (await layerOfBlob(object.digest, origins[0] as ImageRecord, content)) !== undefined)
      return {
        repaired: true,
        message: 'deleted: its layer is unpacked, and only an export needs it (image.keep_blobs)',
      };
    const failures: string[] = [];
    for (const record of origins) {
      const failure = await this.#pulled(record, op);
      op.checkpoint();
      if (failure !== undefined) failures.push(failure);
      else if (this.#isWhole(object)) {
        const again = fault === 'tree' && object.kind === 'layer' && this.#isSame(object.name, object.record);
        const note = again ? '; the numbers of its record are the same, as the archive has names twice' : '';
        return { repaired: true, message: `pulled anew with ${nameOf(record)}${note}` };
      }
    }
    return impossible(failures[0] ?? 'the pull has not replaced it', WITH_CREDENTIALS);
  }

  #isWhole(object: Finding['object']): boolean {
    const { content, layers, images } = this.#parts;
    if (object.kind === 'blob') return content.has(object.digest);
    if (object.kind === 'layer') return layers.get(object.name) !== object.record;
    const record = images.find(object.name)?.record;
    return record?.layers.every((key) => layers.sound(key)) === true;
  }

  #isSame(key: string, { inodes, bytes }: { readonly inodes: number; readonly bytes: number }): boolean {
    const now = this.#parts.layers.get(key);
    return now?.inodes === inodes && now.bytes === bytes;
  }

  #pulled(record: ImageRecord, op: Operation): Promise<string | undefined> {
    const known = this.#pulls.get(record.id);
    if (known) return known;
    const running = this.#pull(record, op);
    this.#pulls.set(record.id, running);
    return running;
  }

  async #pull(record: ImageRecord, op: Operation): Promise<string | undefined> {
    const { pull, remove } = this.#parts;
    let failure: string | undefined;
    for (const reference of record.digests) {
      try {
        const image = await pull(reference, op);
        if (image.id !== record.id) {
          failure = `${reference} is another image for this platform now`;
          continue;
        }
        if (this.#removed.has(record.id)) await remove(record.id, op);
        return undefined;
      } catch (error) {
        if (op.signal.aborted) throw error;
        const hint = error instanceof CrispError ? ` (${error.hint})` : '';
        failure ??= `${describeError(error)}${hint}`;
      }
    }
    return failure;
  }
}

const impossible = (message: string, hint: string): Repair => ({ repaired: false, message, hint });
