import { CrispError, describeError } from '#core/errors.ts';
import { type ContainerId, isFullId, type SandboxId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import { type Loaded, RecordStore } from '#core/record-store.ts';
import { KeyedQueue } from '#core/single-flight.ts';
import type { VolatileCopies } from '#core/volatile-copies.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { type ContainerRecord, containerKey } from './container.ts';

export type ContainerChange = (
  after: ContainerRecord | undefined,
  before: ContainerRecord | undefined,
) => void;

/**
 * The committed state of all containers: records on disk, their snapshot in memory. Reads come from memory and never
 * wait. Changes of one container are serialised by `exclusive`; a change is seen once its record is written, but for
 * `commitEnd` and `publish`, for what must be seen even on a full disk (a container has ended).
 */
export class Containers {
  readonly #store: RecordStore<ContainerRecord>;
  readonly #byId = new Map<ContainerId, ContainerRecord>();
  readonly #byKey = new Map<string, ContainerId>();
  readonly #queue = new KeyedQueue<ContainerId>();
  readonly #listeners = new Set<ContainerChange>();
  readonly #log: Log;

  /** `volatile`: see RecordStore. */
  constructor(directory: string, files: Files, log: Log, volatile?: VolatileCopies) {
    this.#store = new RecordStore<ContainerRecord>({
      directory,
      version: 1,
      files,
      check: checkRecord,
      ...(volatile ? { volatile } : {}),
      onLate: (container, error) =>
        log.warn({ container, error: String(error) }, 'the disk refuses a record; it is tried again'),
      onRefused: (error) =>
        log.warn(
          { error: describeError(error) },
          'the state directory refuses copies of records: changes of containers wait for the disk',
        ),
    });
    this.#log = log;
  }

  directory(id: ContainerId): string {
    return this.#store.directory(id);
  }

  get(id: ContainerId): ContainerRecord | undefined {
    return this.#byId.get(id);
  }

  list(): ContainerRecord[] {
    return [...this.#byId.values()];
  }

  ofSandbox(sandbox: SandboxId): ContainerRecord[] {
    return this.list().filter((record) => record.sandboxId === sandbox);
  }

  /** The container of a full id or a unique prefix; throws NotFound otherwise, naming it. */
  resolve(idOrPrefix: string): ContainerRecord {
    const exact = this.#byId.get(idOrPrefix as ContainerId);
    if (exact) return exact;
    if (idOrPrefix !== '' && !isFullId(idOrPrefix)) {
      const matches = this.list().filter((record) => record.id.startsWith(idOrPrefix));
      if (matches[0] && matches.length === 1) return matches[0];
      if (matches.length > 1) {
        throw new CrispError('NotFound', `container ${idOrPrefix}: ${matches.length} ids begin so`, {
          hint: 'give more digits',
        });
      }
    }
    throw new CrispError('NotFound', `container ${JSON.stringify(idOrPrefix)}: no such container`);
  }

  /** The committed container with this name and attempt. */
  byKey(key: string): ContainerRecord | undefined {
    const id = this.#byKey.get(key);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  /** Runs after all earlier changes of this container have settled. */
  exclusive<T>(id: ContainerId, act: () => Promise<T>): Promise<T> {
    return this.#queue.run(id, act);
  }

  /** A record that cannot be written (a full disk) leaves no directory. */
  async create(record: ContainerRecord): Promise<void> {
    try {
      await this.#store.create(record.id, record, { durable: false });
    } catch (error) {
      await this.#store.remove(record.id).catch(() => {});
      throw error;
    }
    this.publish(record);
  }

  /** Writes, then publishes. `durable` where the change must outlive a power cut. */
  async commit(
    record: ContainerRecord,
    options: { durable: boolean } = { durable: false },
  ): Promise<ContainerRecord> {
    await this.#store.write(record.id, record, options);
    this.publish(record);
    return record;
  }

  /**
   * Writes, and publishes also where the write fails (a full disk): an end is true whether or not the disk can hold it.
   * Durable. Returns whether it is written.
   */
  async commitEnd(record: ContainerRecord): Promise<boolean> {
    let written = false;
    try {
      await this.#store.write(record.id, record, { durable: true });
      written = true;
    } catch (error) {
      this.#log.error(
        { container: record.id, error: String(error) },
        'record not written; the state is kept in memory',
      );
    }
    this.publish(record);
    return written;
  }

  /** In memory only. */
  publish(record: ContainerRecord): void {
    const before = this.#byId.get(record.id);
    this.#byId.set(record.id, record);
    this.#byKey.set(containerKey(record.sandboxId, record.metadata), record.id);
    for (const listener of this.#listeners) listener(record, before);
  }

  /** Removes the record and its directory; the name is free afterwards. */
  async remove(record: ContainerRecord): Promise<void> {
    await this.markRemoved(record);
    await this.purge(record.id);
  }

  /** The committing step of a removal: the name is free, the files are still there and `purge` is due. */
  async markRemoved(record: ContainerRecord): Promise<void> {
    await this.#store.markRemoved(record.id);
    this.#byId.delete(record.id);
    const key = containerKey(record.sandboxId, record.metadata);
    if (this.#byKey.get(key) === record.id) this.#byKey.delete(key);
    for (const listener of this.#listeners) listener(undefined, record);
  }

  /** Calls back after each committed change; the returned function ends it. */
  onChange(listener: ContainerChange): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Fills the memory from disk; records that cannot be read are returned, and stay where they are. */
  async load(): Promise<Loaded<ContainerRecord>> {
    const loaded = await this.#store.load();
    for (const record of loaded.records.values()) this.publish(record);
    return loaded;
  }

  /** Begins the removal of one whose record cannot be read. Returns the path of its copy, if any; `purge` is due. */
  async markUnreadableRemoved(id: ContainerId): Promise<string | undefined> {
    const kept = await this.#store.keepUnreadable(id);
    await this.#store.markRemoved(id);
    return kept;
  }

  /** Deletes the files of a container that is marked as removed. */
  purge(id: ContainerId): Promise<void> {
    return this.#store.purge(id);
  }

  /** The record of a container that is marked as removed; undefined where it cannot be read. */
  removed(key: string): Promise<ContainerRecord | undefined> {
    return this.#store.removed(key);
  }

  /** Writes what is not on the disk yet. Never throws. */
  async close(): Promise<void> {
    try {
      await this.#store.flush();
    } catch (error) {
      this.#log.warn({ error: describeError(error) }, 'the last records are in the state directory alone');
    }
  }

  sweep(keys: readonly string[]): Promise<void> {
    return this.#store.sweep(keys);
  }
}

/** Throws DataLoss where a parsed record lacks what all code relies on. */
export function checkRecord(record: ContainerRecord, directory: string): void {
  if (!isFullId(record.id) || !isFullId(record.sandboxId) || !Array.isArray(record.intents)) {
    throw damaged('the record lacks an id, a sandbox or its intents');
  }
  if (record.id !== directory) throw damaged(`it is the record of container ${record.id}`);
}

const damaged = (why: string): CrispError =>
  new CrispError('DataLoss', why, { hint: 'remove the container: the kubelet makes another' });
