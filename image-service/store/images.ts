import { CrispError, errnoOf } from '#core/errors.ts';
import { type ImageId, isDigest } from '#core/ids.ts';
import { type BrokenRecord, RecordStore } from '#core/record-store.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import { naming } from '#linux/libc/errno.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { IMAGE_RECORD_VERSION, type Image, type ImageRecord, imageOf } from '../image/image.ts';
import { ImageIndex } from './image-index.ts';

const keyOf = (id: ImageId): string => id.slice('sha256:'.length);

/**
 * The images' records and what is published of them: a snapshot in memory that readers get without waiting. A removed
 * image's record moves to the directory `retired`, where it keeps the layers of containers that still use them.
 */
export class ImageStore {
  readonly #store: RecordStore<ImageRecord>;
  readonly #removedStore: RecordStore<ImageRecord>;
  readonly #removedDirectory: string;
  readonly #files: Files;
  readonly #records = new Map<ImageId, ImageRecord>();
  readonly #removed = new Map<ImageId, ImageRecord>();
  /** Those that cannot be used until they are pulled again. */
  readonly #hidden = new Map<ImageId, ImageRecord>();
  readonly #queue = new KeyedQueue<'records'>();
  #index = new ImageIndex([]);

  constructor(directory: string, removedDirectory: string, files: Files) {
    const common = { version: IMAGE_RECORD_VERSION, check: checkRecord, files };
    this.#store = new RecordStore<ImageRecord>({ directory, ...common });
    this.#removedStore = new RecordStore<ImageRecord>({ directory: removedDirectory, ...common });
    this.#removedDirectory = removedDirectory;
    this.#files = files;
  }

  /** Reads the records and publishes those that `usable` accepts; the others are hidden, and kept for their image's next pull. */
  async load(
    usable: (record: ImageRecord) => boolean,
  ): Promise<{ readonly broken: readonly BrokenRecord[] }> {
    const { records, broken } = await this.#store.load();
    const removed = await this.#removedStore.load();
    await quarantine(this.#store, broken);
    await quarantine(this.#removedStore, removed.broken);
    await this.#removedStore.sweep(removed.removing);
    for (const record of removed.records.values()) this.#removed.set(record.id, record);
    for (const record of records.values())
      (usable(record) ? this.#records : this.#hidden).set(record.id, record);
    this.#resolveTagConflicts();
    this.#publish();
    return { broken: [...broken, ...removed.broken] };
  }

  /** All images, as published last. */
  list(): readonly Image[] {
    return this.#index.images;
  }

  /** By id, unique short id, tag or digest. */
  find(reference: string): Image | undefined {
    return this.#index.find(reference);
  }

  /** Hides the images that can no longer be used. */
  hide(isUnusable: (record: ImageRecord) => boolean): void {
    for (const record of [...this.#records.values()].filter(isUnusable)) {
      this.#records.delete(record.id);
      this.#hidden.set(record.id, record);
    }
    this.#publish();
  }

  /** Images that are on the disk and cannot be used until they are pulled again: what they have is not fetched twice. */
  hidden(): readonly ImageRecord[] {
    return [...this.#hidden.values()];
  }

  /** Also one that was removed but whose files are still there. */
  record(id: ImageId): ImageRecord | undefined {
    return this.#records.get(id) ?? this.#removed.get(id);
  }

  /** Whether an image's record names this layer or blob. */
  isNamed(name: string): boolean {
    const names = ({ layers, blobs }: ImageRecord) =>
      layers.includes(name) || blobs.some((blob) => blob === name);
    return [this.#records, this.#hidden, this.#removed].some((records) => records.values().some(names));
  }

  /** Images that were removed, but whose layers a container may still use. */
  removedInUse(): readonly ImageRecord[] {
    return [...this.#removed.values()];
  }

  /**
   * Writes the record durably and publishes it: new names are added to those of the image, and a tag is removed from the
   * image that had it before. The new owner is written first; after a crash in between the tags' times decide.
   */
  put(record: ImageRecord): Promise<Image> {
    return this.#queue.run('records', async () => {
      const merged = merge(this.#records.get(record.id) ?? this.#hiddenWithOwnTags(record.id), record);
      await this.#store.create(keyOf(record.id), merged, { durable: true });
      this.#hidden.delete(record.id);
      this.#records.set(record.id, merged);
      const names = new Set(record.tags.map((tag) => tag.name));
      for (const other of [...this.#records.values()]) {
        if (other.id === record.id || !other.tags.some((tag) => names.has(tag.name))) continue;
        const without = { ...other, tags: other.tags.filter((tag) => !names.has(tag.name)) };
        await this.#store.write(keyOf(other.id), without, { durable: true });
        this.#records.set(other.id, without);
      }
      this.#publish();
      return imageOf(merged);
    });
  }

  /** Removes the image that the reference names, with all its names, by one rename; a hidden one, too. Unknown is success (undefined). */
  remove(reference: string): Promise<ImageId | undefined> {
    return this.#queue.run('records', async () => {
      const hidden = () => new ImageIndex(this.hidden().map(imageOf)).find(reference);
      const record = (this.find(reference) ?? hidden())?.record;
      if (!record) return undefined;
      const key = keyOf(record.id);
      await naming(`remove image ${record.id}`, () => this.#markRemoved(key));
      this.#records.delete(record.id);
      this.#hidden.delete(record.id);
      this.#removed.set(record.id, record);
      this.#publish();
      return record.id;
    });
  }

  /**
   * Deletes a removed image for good, unless it is in use. Check and deletion are one step: a container that is known by
   * then keeps it, one that is created later finds no such image.
   */
  purge(id: ImageId, isFree: (id: ImageId) => boolean): Promise<void> {
    return this.#queue.run('records', async () => {
      const record = this.#removed.get(id);
      if (!record || !isFree(id)) return;
      this.#removed.delete(id);
      try {
        await this.#removedStore.remove(keyOf(id));
      } catch (error) {
        this.#removed.set(id, record); // to be retried
        throw error;
      }
    });
  }

  /** Other images may have got tags of a hidden one meanwhile. */
  #hiddenWithOwnTags(id: ImageId): ImageRecord | undefined {
    const record = this.#hidden.get(id);
    return record && { ...record, tags: record.tags.filter(({ name }) => !this.find(name)) };
  }

  async #markRemoved(key: string): Promise<void> {
    const target = this.#removedStore.directory(key);
    try {
      await this.#files.rename(this.#store.directory(key), target);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') {
        await this.#files.makeDirectory(this.#removedDirectory, 0o700);
      } else if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) {
        await this.#removedStore.remove(key); // from an earlier removal of the same image
      } else throw error;
      await this.#files.rename(this.#store.directory(key), target);
    }
  }

  /** If two records have the same tag, the later one keeps it. */
  #resolveTagConflicts(): void {
    const owners = new Map<string, { id: ImageId; at: bigint }>();
    for (const { id, tags } of this.#records.values()) {
      for (const { name, at } of tags) {
        const known = owners.get(name);
        if (!known || known.at < at) owners.set(name, { id, at });
      }
    }
    for (const record of [...this.#records.values()]) {
      const tags = record.tags.filter(({ name }) => owners.get(name)?.id === record.id);
      if (tags.length < record.tags.length) this.#records.set(record.id, { ...record, tags });
    }
  }

  #publish(): void {
    this.#index = new ImageIndex([...this.#records.values()].map(imageOf));
  }
}

/** Unreadable records are moved away: the image is pulled again when it is needed. */
async function quarantine(store: RecordStore<ImageRecord>, broken: readonly BrokenRecord[]): Promise<void> {
  for (const { key, isPassing } of broken) {
    if (isPassing || !isDigest(`sha256:${key}`)) continue;
    await store.keepUnreadable(key);
    await store.remove(key);
  }
}

function checkRecord(record: ImageRecord, key: string): void {
  const { id, tags, digests, layers, blobs, size, pulled, config } = record;
  const lists = [tags, digests, layers, blobs, config?.env, config?.entrypoint, config?.cmd, config?.volumes];
  const whole = lists.every(Array.isArray) && Number.isFinite(size) && typeof pulled === 'bigint';
  if (!whole) throw damaged('the record of the image lacks fields of version 1');
  if (id !== `sha256:${key}`) throw damaged(`it is the record of image ${id}`);
}

/** The record with the names of both; all other fields are those of the later one. */
function merge(known: ImageRecord | undefined, record: ImageRecord): ImageRecord {
  if (record.id === known?.id) {
    const names = new Set(record.tags.map((tag) => tag.name));
    return {
      ...record,
      tags: [...known.tags.filter((tag) => !names.has(tag.name)), ...record.tags],
      digests: [...new Set([...known.digests, ...record.digests])],
      blobs: [...new Set([...known.blobs, ...record.blobs])],
      pulled: known.pulled,
    };
  }
  if (known) throw new CrispError('Internal', `records of ${known.id} and ${record.id} cannot be merged`);
  return record;
}

const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', why, { hint: 'pull the image again' });
