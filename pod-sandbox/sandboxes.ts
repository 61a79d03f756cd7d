/**
 * All sandboxes: their records on disk, and the committed snapshot of them in memory that every read is served from.
 * A change is written first and published after; where the disk is full a not-ready state is published all the same.
 */
import { join } from 'node:path';
import { describeError } from '#core/errors.ts';
import { isFullId, type SandboxId } from '#core/ids.ts';
import type { Log } from '#core/operation.ts';
import { type BrokenRecord, RecordStore } from '#core/record-store.ts';
import type { VolatileCopies } from '#core/volatile-copies.ts';
import type { Files } from '#linux/ports/kernel.ts';
import { migrateRecord } from './migrate.ts';
import {
  checkRecord,
  displayName,
  nameKey,
  RECORD_VERSION,
  type SandboxRecord,
  toNotReady,
} from './sandbox.ts';

export type ChangeKind = 'created' | 'ready' | 'notReady' | 'removed';
export type ChangeListener = (kind: ChangeKind, record: SandboxRecord) => void;

export class Sandboxes {
  readonly #store: RecordStore<SandboxRecord>;
  readonly #log: Log;
  readonly #byId = new Map<SandboxId, SandboxRecord>();
  /** The holder of each name. */
  readonly #byName = new Map<string, SandboxId>();
  readonly #listeners = new Set<ChangeListener>();

  /** `volatile`: see RecordStore. */
  constructor(root: string, files: Files, log: Log, volatile?: VolatileCopies) {
    this.#log = log;
    this.#store = new RecordStore<SandboxRecord>({
      directory: join(root, 'sandboxes'),
      version: RECORD_VERSION,
      migrate: migrateRecord,
      check: checkRecord,
      files,
      ...(volatile ? { volatile } : {}),
      onLate: (sandbox, error) =>
        log.warn({ sandbox, error: describeError(error) }, 'the disk refuses a record; it is tried again'),
      onRefused: (error) =>
        log.warn(
          { error: describeError(error) },
          'the state directory refuses copies of records: changes of pods wait for the disk',
        ),
    });
  }

  /** Reads all records; those that cannot be read are returned, and do not fail the load. */
  async load(): Promise<readonly BrokenRecord[]> {
    const { records, broken, removing } = await this.#store.load();
    const unreadable = [...broken];
    const oldestFirst = [...records].sort(([, a], [, b]) => (a.createdAt < b.createdAt ? -1 : 1));
    for (const [key, record] of oldestFirst) {
      if (key !== record.id) {
        const reason = `it is the record of sandbox ${record.id}`;
        const is = { isMissing: false, isPassing: false, isNewer: false, hint: undefined };
        unreadable.push({ key, reason, ...is });
        continue;
      }
      this.#byId.set(record.id, record);
      this.#assignName(record);
    }
    for (const { key, reason, isPassing, hint } of unreadable) {
      if (isPassing || !isFullId(key))
        this.#log.error(
          { sandbox: key, reason, hint },
          'the record of a sandbox cannot be read; it is not listed',
        );
    }
    await this.#store.sweep(removing);
    return unreadable;
  }

  /** See RecordStore. */
  keepUnreadable(id: SandboxId): Promise<string | undefined> {
    return this.#store.keepUnreadable(id);
  }

  /** Lists a sandbox again, with a reconstructed record in the place of one that cannot be read. */
  async adopt(record: SandboxRecord): Promise<void> {
    await this.#store.createVolatile(record.id, record);
    this.#byId.set(record.id, record);
    this.#assignName(record);
  }

  get(id: SandboxId): SandboxRecord | undefined {
    return this.#byId.get(id);
  }

  /** Oldest first. */
  list(): SandboxRecord[] {
    return [...this.#byId.values()];
  }

  byName(key: string): SandboxRecord | undefined {
    const id = this.#byName.get(key);
    return id === undefined ? undefined : this.#byId.get(id);
  }

  /** The id that begins with the text; undefined where none or several do. */
  resolve(idOrPrefix: string): SandboxId | undefined {
    if (!/^[0-9a-f]{1,64}$/.test(idOrPrefix)) return undefined;
    const matches = [...this.#byId.keys()].filter((id) => id.startsWith(idOrPrefix));
    return matches.length === 1 ? matches[0] : undefined;
  }

  /** The first write of a sandbox, to the tmpfs; `persist` writes it to the disk. */
  async create(record: SandboxRecord): Promise<void> {
    await this.#store.createVolatile(record.id, record);
    this.#byName.set(nameKey(record.config), record.id);
    this.#publish(record, 'created');
  }

  /** Writes the current record of the sandbox to the disk; `durable`: so that it outlives a power cut. */
  persist(id: SandboxId, options: { durable: boolean }): Promise<void> {
    return this.#store.persist(id, options);
  }

  /** Writes, then publishes. */
  async commit(record: SandboxRecord, options: { durable: boolean }): Promise<void> {
    await this.#store.write(record.id, record, options);
    this.#publish(record, this.#kindOf(record));
  }

  /** In memory only: for a not-ready state that the next daemon detects, too. */
  publishNotReady(record: SandboxRecord): void {
    this.#publish(record, this.#kindOf(record));
  }

  /** Publishes also where the write fails: the sandbox is not ready whether or not that can be recorded. */
  async commitNotReady(record: SandboxRecord): Promise<void> {
    this.publishNotReady(record);
    try {
      await this.#store.write(record.id, record, { durable: false });
    } catch (error) {
      this.#log.warn(
        { sandbox: record.id, error: describeError(error) },
        'the end of a sandbox could not be recorded',
      );
    }
  }

  /** The name and the id are free when this resolves. */
  async remove(id: SandboxId): Promise<void> {
    await this.#store.remove(id);
    const record = this.#byId.get(id);
    if (!record) return;
    this.#byId.delete(id);
    const key = nameKey(record.config);
    if (this.#byName.get(key) === id) this.#byName.delete(key);
    this.#notify('removed', record);
  }

  /** Writes what is not on the disk yet; a failure is logged. */
  async close(): Promise<void> {
    try {
      await this.#store.flush();
    } catch (error) {
      this.#log.warn({ error: describeError(error) }, 'the last records are in the state directory alone');
    }
  }

  onChange(listener: ChangeListener): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** At most one sandbox may hold a name: the newest that is ready, else the newest. The others stay listed as not ready. */
  #assignName(record: SandboxRecord): void {
    const key = nameKey(record.config);
    const holder = this.byName(key);
    const wins = !holder || record.state.name === 'ready' || holder.state.name !== 'ready';
    if (wins) this.#byName.set(key, record.id);
    if (!holder) return;
    const [kept, other] = wins ? [record, holder] : [holder, record];
    this.#byId.set(other.id, toNotReady(other, 'failed', `its name is held by sandbox ${kept.id}`));
    const fields = { name: displayName(record.config), kept: kept.id, other: other.id };
    this.#log.warn(
      fields,
      'two sandboxes have one name; the other is listed as not ready and can be removed',
    );
  }

  #kindOf(record: SandboxRecord): ChangeKind | undefined {
    const before = this.#byId.get(record.id)?.state.name;
    const after = record.state.name;
    return before === after || after === 'creating' ? undefined : after;
  }

  #publish(record: SandboxRecord, kind: ChangeKind | undefined): void {
    this.#byId.set(record.id, record);
    if (kind) this.#notify(kind, record);
  }

  #notify(kind: ChangeKind, record: SandboxRecord): void {
    for (const listener of this.#listeners) {
      try {
        listener(kind, record);
      } catch (error) {
        this.#log.error({ error: describeError(error) }, 'a listener to sandbox changes failed');
      }
    }
  }
}
