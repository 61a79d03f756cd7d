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
 * The images' records and what is published of them: a snapshot in memory that readers take without waiting. A removed
 * image's record moves to `retired`, where it keeps the layers of containers that still stand on them.
 */
export class ImageStore {
  readonly #store: RecordStore<ImageRecord>;
  readonly #retiredStore: RecordStore<ImageRecord>;
  readonly #retiredDirectory: string;
  readonly #files: Files;
  readonly #records = new Map<ImageId, ImageRecord>();
  readonly #retired = new Map<ImageId, ImageRecord>();
  readonly #queue = new KeyedQueue<'records'>();
  #index = new ImageIndex([]);

  constructor(directory: string, retiredDirectory: string, files: Files) {
    const common = { version: IMAGE_RECORD_VERSION, check: checkRecord, files };
    this.#store = new RecordStore<ImageRecord>({ directory, ...common });
    this.#retiredStore = new RecordStore<ImageRecord>({ directory: retiredDirectory, ...common });
    this.#retiredDirectory = retiredDirectory;
    this.#files = files;
  }

  /** Reads the records and publishes those that `usable` accepts; the others wait for their image's next pull. */
  async load(usable: (record: ImageRecord) => boolean): Promise<{
    unusable: readonly ImageRecord[];
    broken: readonly BrokenRecord[];
  }> {
    const { records, broken } = await this.#store.load();
    const retired = await this.#retiredStore.load();
    await setAside(this.#store, broken);
    await setAside(this.#retiredStore, retired.broken);
    await this.#retiredStore.sweep(retired.removing);
    for (const record of retired.records.values()) this.#retired.set(record.id, record);
    const unusable: ImageRecord[] = [];
    for (const record of records.values()) {
      if (usable(record)) this.#records.set(record.id, record);
      else unusable.push(record);
    }
    this.#settleTags();
    this.#publish();
    return { unusable, broken: [...broken, ...retired.broken] };
  }

  /** All images, as published last. */
  list(): readonly Image[] {
    return this.#index.images;
  }

  /** By id, unique short id, tag or digest. */
  find(reference: string): Image | undefined {
    return this.#index.find(reference);
  }

  /** Also one that was removed but whose files are still there. */
  record(id: ImageId): ImageRecord | undefined {
    return this.#records.get(id) ?? this.#retired.get(id);
  }

  /** Whether an image's record names this layer or blob. */
  isNamed(name: string): boolean {
    const names = ({ layers, blobs }: ImageRecord) =>
      layers.includes(name) || blobs.some((blob) => blob === name);
    return [...this.#records.values(), ...this.#retired.values()].some(names);
  }

  retired(): readonly ImageRecord[] {
    return [...this.#retired.values()];
  }

  /**
   * Writes the record through to the disk and publishes it: new names join those that the image has, and a tag leaves
   * the image that had it before. The new owner is written first; a crash in between is settled by the tags' times.
   */
  put(record: ImageRecord): Promise<Image> {
    return this.#queue.run('records', async () => {
      const merged = merge(this.#records.get(record.id), record);
      await this.#store.create(keyOf(record.id), merged, { durable: true });
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

  /** Removes the image that the reference means, with all its names, by one rename. Unknown is success (undefined). */
  remove(reference: string): Promise<ImageId | undefined> {
    return this.#queue.run('records', async () => {
      const record = this.find(reference)?.record;
      if (!record) return undefined;
      const key = keyOf(record.id);
      await naming(`remove image ${record.id}`, () => this.#retire(key));
      this.#records.delete(record.id);
      this.#retired.set(record.id, record);
      this.#publish();
      return record.id;
    });
  }

  /**
   * Forgets a removed image for good, unless it is used. That is asked and acted upon in one step: a container that is
   * known by then keeps it, one that comes later finds no such image.
   */
  dropRetired(id: ImageId, isFree: (id: ImageId) => boolean): Promise<void> {
    return this.#queue.run('records', async () => {
      const record = this.#retired.get(id);
      if (!record || !isFree(id)) return;
      this.#retired.delete(id);
      try {
        await this.#retiredStore.remove(keyOf(id));
      } catch (error) {
        this.#retired.set(id, record); // to be tried again
        throw error;
      }
    });
  }

  async #retire(key: string): Promise<void> {
    const target = this.#retiredStore.directory(key);
    try {
      await this.#files.rename(this.#store.directory(key), target);
    } catch (error) {
      if (errnoOf(error) === 'ENOENT') {
        await this.#files.makeDirectory(this.#retiredDirectory, 0o700);
      } else if (['ENOTEMPTY', 'EEXIST'].includes(errnoOf(error) ?? '')) {
        await this.#retiredStore.remove(key); // of an earlier life of the same image
      } else throw error;
      await this.#files.rename(this.#store.directory(key), target);
    }
  }

  /** Of two records with one tag the later has it. */
  #settleTags(): void {
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

/** The image is pulled again when it is wanted; which layers it had nobody knows. */
async function setAside(store: RecordStore<ImageRecord>, broken: readonly BrokenRecord[]): Promise<void> {
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

/** The record with the names of both; all else is the later's. */
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
  if (known) throw new CrispError('Internal', `records of ${known.id} and ${record.id} cannot be one`);
  return record;
}

const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', why, { hint: 'pull the image again' });
