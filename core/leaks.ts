/**
 * The list of leaks: effects that could not be undone while their object (a pod, a container) was being ended. The object
 * is gone for its clients; its remaining effects are listed here, on the disk, shown to operators, and their undo is retried
 * in the background until it succeeds.
 */
import { describeError } from './errors.ts';
import { type Log, Operation } from './operation.ts';
import { RecordStore, type RecordStoreOptions, type Versioned } from './record-store.ts';
import { SingleFlight } from './single-flight.ts';
import { isGivenUp } from './undo.ts';

/** The first wait before a leak is tried again, in milliseconds; each further one is twice as long. */
const RETRY_MS = 5_000;
const MAX_RETRY_MS = 30 * 60_000;
/** Tries of one daemon, over some twelve hours; the next daemon begins anew. */
const MAX_TRIES = 32;

const LEAK_VERSION = 2;

/**
 * What is on disk, one record per object. Version 2 has the same form as 1: its number keeps a crisp that does not know the form
 * of the object's record in it (a pod's has had several attachments since) from taking it for one without effects.
 */
export interface LeakRecord<R> extends Versioned {
  readonly version: 2;
  /** Of the pod or container. */
  readonly id: string;
  /** Its name, for operators. */
  readonly name: string;
  /** Kinds of the intents that are not undone. */
  readonly kinds: readonly string[];
  /** Of the last try. */
  readonly error: string;
  /** Nanoseconds since the epoch. */
  readonly since: bigint;
  /** Failed tries, those before it was listed among them. */
  readonly tries: number;
  /** Whether the object's removal no longer waits for it (`isGivenUp`). */
  readonly givenUp: boolean;
  /** The object's own record, whose intents are what is not undone. */
  readonly record: R;
}

/** A leak as operators see it. */
export type Leak = Omit<LeakRecord<unknown>, 'record' | 'version'> & { readonly object: string };

/** What a try could not undo; undefined where all is undone. */
export type LeakOutcome<R> = Pick<LeakRecord<R>, 'kinds' | 'record'> & { readonly error: unknown };

export interface LeaksOptions<R> {
  /** `pod` or `container`. */
  readonly object: string;
  readonly directory: string;
  readonly files: RecordStoreOptions<Versioned>['files'];
  readonly log: Log;
  /** Tries once more. May throw. */
  readonly undo: (record: R, op: Operation) => Promise<LeakOutcome<R> | undefined>;
  /** The object's record as of today, where an earlier version of crisp has entered it. May throw. */
  readonly migrate?: (record: R) => R;
  /** Throws where the parsed record of the object is malformed. */
  readonly check: (record: R) => void;
}

interface Waiting {
  wait: number;
  tries: number;
  timer: NodeJS.Timeout | undefined;
}

export class Leaks<R> {
  readonly #options: LeaksOptions<R>;
  readonly #store: RecordStore<LeakRecord<R>>;
  readonly #byId = new Map<string, LeakRecord<R>>();
  readonly #waiting = new Map<string, Waiting>();
  /** Background tries come one after another: each may wait for its own deadlines. */
  #turn: Promise<unknown> = Promise.resolve();
  readonly #tries = new SingleFlight<string, void>();
  #begun = false;
  readonly #closing = new AbortController();

  constructor(options: LeaksOptions<R>) {
    this.#options = options;
    this.#store = new RecordStore<LeakRecord<R>>({
      directory: options.directory,
      version: LEAK_VERSION,
      migrate: (record) => ({ ...(record as LeakRecord<R>), version: LEAK_VERSION }),
      files: options.files,
      check: ({ id, kinds, record }, key) => {
        if (id !== key || !Array.isArray(kinds)) throw new Error('the record lacks its id or kinds');
        options.check(this.#current(record));
      },
    });
  }

  /** Reads the list. A record that cannot be read is logged and kept. */
  async load(): Promise<void> {
    const { records, broken, removing } = await this.#store.load();
    for (const [id, leak] of records) this.#byId.set(id, { ...leak, record: this.#current(leak.record) });
    for (const { key, reason, hint } of broken)
      this.#options.log.error({ leak: key, reason, hint }, 'the record of a leak cannot be read; it is kept');
    await this.#store.sweep(removing);
  }

  /** Begins to try in the background, each leak of an earlier daemon at once: a reboot has ended most of them. */
  begin(): void {
    this.#begun = true;
    for (const id of this.#byId.keys()) this.#later(id, 0);
  }

  /** Oldest first. From memory. */
  list(): readonly Leak[] {
    const { object } = this.#options;
    return [...this.#byId.values()]
      .sort((a, b) => (a.since < b.since ? -1 : 1))
      .map(({ record: _, version: _version, ...shown }) => ({ object, ...shown }));
  }

  get(id: string): LeakRecord<R> | undefined {
    return this.#byId.get(id);
  }

  /** The leaks of the objects that the predicate chooses. */
  of(chosen: (record: R) => boolean): readonly LeakRecord<R>[] {
    return [...this.#byId.values()].filter(({ record }) => chosen(record));
  }

  /**
   * Enters what is not undone. It outlives a power cut when this resolves; where the disk refuses it, it is kept in memory
   * and written with the next try. One that is listed already is replaced.
   */
  async add(leak: { id: string; name: string; tries: number } & LeakOutcome<R>): Promise<void> {
    const { id, name, kinds, record, tries } = leak;
    const error = describeError(leak.error);
    const since = this.#byId.get(id)?.since ?? BigInt(Date.now()) * 1_000_000n;
    const { object, log } = this.#options;
    log.warn(
      { [object]: id, name, kinds, error, tries },
      'not undone; it is listed as a leak and tried again',
    );
    const givenUp = isGivenUp(leak.error, tries);
    await this.#write({ version: LEAK_VERSION, id, name, kinds, error, since, tries, givenUp, record });
    if (this.#begun) this.#later(id, RETRY_MS);
  }

  /** Retries what is listed for the object, or joins the running try. Never rejects. */
  retry(id: string): Promise<void> {
    return this.#tries.run(id, () => this.#try(id));
  }

  /** Waits for the running tries; the next daemon goes on. */
  async close(): Promise<void> {
    this.#closing.abort();
    for (const { timer } of this.#waiting.values()) clearTimeout(timer);
    await Promise.all([this.#turn, ...[...this.#byId.keys()].map((id) => this.#tries.get(id))]);
  }

  #current(record: R): R {
    return this.#options.migrate?.(record) ?? record;
  }

  #later(id: string, wait: number): void {
    if (this.#closing.signal.aborted) return;
    const known = this.#waiting.get(id);
    clearTimeout(known?.timer);
    const tries = known?.tries ?? 0;
    if (tries >= MAX_TRIES) return;
    const inTurn = () => {
      this.#turn = this.#turn.then(() => this.retry(id));
    };
    const timer = setTimeout(inTurn, wait).unref();
    this.#waiting.set(id, { wait: Math.max(wait, RETRY_MS), tries, timer });
  }

  async #try(id: string): Promise<void> {
    const leak = this.#byId.get(id);
    if (!leak || this.#closing.signal.aborted) return;
    const { log, object, undo } = this.#options;
    const op = new Operation('leak', { signal: this.#closing.signal });
    try {
      const left = await undo(leak.record, op).catch((error: unknown) => ({ ...leak, error }));
      if (left && this.#closing.signal.aborted) return;
      if (!left) {
        await this.#remove(id);
        log.info({ [object]: id, kinds: leak.kinds }, 'a leak is undone');
        return;
      }
      const { kinds, record } = left;
      const tries = leak.tries + 1;
      const givenUp = isGivenUp(left.error, tries);
      await this.#write({ ...leak, kinds, record, error: describeError(left.error), tries, givenUp });
    } catch (error) {
      log.warn({ [object]: id, error: describeError(error) }, 'the record of a leak could not be removed');
    }
    const { wait = RETRY_MS, tries = 0, timer } = this.#waiting.get(id) ?? {};
    this.#waiting.set(id, { wait: Math.min(MAX_RETRY_MS, 2 * wait), tries: tries + 1, timer });
    if (this.#begun) this.#later(id, wait);
  }

  async #write(leak: LeakRecord<R>): Promise<void> {
    const { object, log } = this.#options;
    this.#byId.set(leak.id, leak);
    await this.#store
      .create(leak.id, leak, { durable: true })
      .catch((error: unknown) =>
        log.warn({ [object]: leak.id, error: describeError(error) }, 'a leak could not be recorded'),
      );
  }

  async #remove(id: string): Promise<void> {
    await this.#store.remove(id);
    this.#byId.delete(id);
    clearTimeout(this.#waiting.get(id)?.timer);
    this.#waiting.delete(id);
  }
}
