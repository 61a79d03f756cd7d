import { KeyedQueue } from './single-flight.ts';
import type { VolatileCopies } from './volatile-copies.ts';
import { WriteBehind } from './write-behind.ts';

/** Refusals of copies that follow each other within this time are reported once. */
const REPORT_INTERVAL_MS = 60_000;

export interface RecordWriterOptions {
  /** Replaces the record on the disk; its data is flushed before it gets its name. */
  readonly put: (key: string, text: string, durable: boolean) => Promise<void>;
  /** The record that is on the disk outlives a power cut. */
  readonly sync: (key: string) => Promise<void>;
  /** The record on the disk. */
  readonly read: (key: string) => string;
  readonly volatile: VolatileCopies | undefined;
  /** Called when the disk refuses what is in `volatile`; it is tried again. */
  readonly onLate: (key: string, error: unknown) => void;
  /** Called when `volatile` refuses a copy, once while that lasts; the change goes to the disk. */
  readonly onRefused: (error: unknown) => void;
}

/** A text and its place in the order of all calls. */
interface Change {
  readonly text: string;
  readonly order: number;
}

/**
 * The writes of one store. All disk access for a key passes through that key's queue, and a later change is never replaced
 * by an earlier one, however long the disk takes.
 *
 * A copy in `volatile` takes precedence over the disk, so it must never be older than the disk's record: a durable change
 * that finds a copy replaces it first. Where the copies' file system refuses (it is full), the copy is written to
 * the disk and removed, and only then the change follows: a crash in between finds one of the two.
 */
export class RecordWriter {
  readonly #options: RecordWriterOptions;
  readonly #queue = new KeyedQueue<string>();
  readonly #behind: WriteBehind;
  /** What the copies have and the disk does not have yet. */
  readonly #copies = new Map<string, Change>();
  /** The order of what the disk has. */
  readonly #written = new Map<string, number>();
  #order = 0;
  #noReportUntil = 0;

  constructor(options: RecordWriterOptions) {
    this.#options = options;
    this.#behind = new WriteBehind({ write: (key) => this.#writeCopy(key), onError: options.onLate });
  }

  /** Runs when all earlier writes of this key have settled. Must not request one and wait for it. */
  inTurn<T>(key: string, act: () => Promise<T>): Promise<T> {
    return this.#queue.run(key, act);
  }

  /** Commits by a copy that is written to the disk in the background. Where copies are refused it is a write to the disk. */
  async quick(key: string, text: string): Promise<void> {
    const change = this.#next(text);
    if (this.#copy(key, change)) this.#behind.later(key);
    else await this.#queue.run(key, () => this.#pastCopy(key, change, false));
  }

  /** Writes to the disk, for the store's own boot or, `durable`, so that it outlives a power cut. A refusal changes nothing. */
  through(key: string, text: string, durable: boolean): Promise<void> {
    const change = this.#next(text);
    return this.#queue.run(key, () => this.#overtake(key, change, durable));
  }

  /** Writes to the disk what is recorded now, so that it outlives a power cut. */
  persist(key: string): Promise<void> {
    const { order } = this.#next('');
    return this.#queue.run(key, async () => {
      const copy = this.#copies.get(key);
      await this.#put(key, copy ?? { text: this.#options.read(key), order }, true);
      if (copy) this.#drop(key, copy);
    });
  }

  /** A copy that an earlier daemon has left: it is written to the disk in the background. */
  adopt(key: string, text: string): void {
    this.#copies.set(key, this.#next(text));
    this.#behind.later(key);
  }

  /** Nothing more is written of this key. To be called in its turn; the copy itself stays. */
  forget(key: string): void {
    this.#behind.forget(key);
    this.#copies.delete(key);
    this.#written.delete(key);
  }

  /** Writes to the disk what only the copies have. What the disk refuses stays in them. */
  flush(): Promise<void> {
    return this.#behind.flush();
  }

  #next(text: string): Change {
    return { text, order: ++this.#order };
  }

  /** Whether the copy is written; an older one stays where it is not. */
  #copy(key: string, change: Change): boolean {
    const { volatile, onRefused } = this.#options;
    try {
      volatile?.write(key, change.text);
    } catch (error) {
      const now = performance.now();
      if (now >= this.#noReportUntil) onRefused(error);
      this.#noReportUntil = now + REPORT_INTERVAL_MS;
      return false;
    }
    this.#copies.set(key, change);
    return true;
  }

  /** The disk has at least this. */
  #drop(key: string, copy: Change): void {
    if (this.#copies.get(key) !== copy) return; // a newer one has come
    try {
      this.#options.volatile?.remove(key);
    } catch (error) {
      this.#options.onLate(key, error);
      this.#behind.retryLater(key);
      return;
    }
    this.#copies.delete(key);
    this.#behind.forget(key);
  }

  async #put(key: string, { text, order }: Change, durable: boolean): Promise<void> {
    if (order < (this.#written.get(key) ?? 0)) {
      // The disk has a later change.
      if (durable) await this.#options.sync(key);
      return;
    }
    await this.#options.put(key, text, durable);
    this.#written.set(key, order);
  }

  async #overtake(key: string, change: Change, durable: boolean): Promise<void> {
    const before = this.#copies.get(key);
    if (!before || before.order > change.order) return this.#put(key, change, durable);
    if (!this.#copy(key, change)) return this.#pastCopy(key, change, durable);
    try {
      await this.#put(key, change, durable);
    } catch (error) {
      this.#restore(key, change, before);
      throw error;
    }
    this.#drop(key, change);
  }

  /** The disk has refused the change that was copied. */
  #restore(key: string, refused: Change, before: Change): void {
    if (this.#copies.get(key) !== refused) return;
    // Where even this copy is refused, the record is still written to the disk as soon as possible.
    this.#copy(key, before);
    this.#copies.set(key, before);
    this.#behind.later(key);
  }

  async #pastCopy(key: string, change: Change, durable: boolean): Promise<void> {
    const before = this.#copies.get(key);
    if (before && before.order < change.order) {
      await this.#put(key, before, false);
      this.#drop(key, before);
    }
    await this.#put(key, change, durable);
  }

  async #writeCopy(key: string): Promise<void> {
    await this.#queue.run(key, async () => {
      const copy = this.#copies.get(key);
      if (!copy) return;
      await this.#put(key, copy, false);
      this.#drop(key, copy);
    });
    if (this.#copies.has(key)) this.#behind.later(key);
  }
}
