/**
 * An operation is one piece of work with a name: an RPC, a recovery, a background removal. It carries what each step
 * needs (cancellation, log, stage names) so that every wait has a name and an error can report where the time went.
 */
import { randomBytes } from 'node:crypto';
import { CrispError } from './errors.ts';

/** The log of the services (pino's interface): structured fields first, then the message. */
export interface Log {
  debug(fields: object, message: string): void;
  info(fields: object, message: string): void;
  warn(fields: object, message: string): void;
  error(fields: object, message: string): void;
  child(fields: object): Log;
}

export const silentLog: Log = {
  debug() {},
  info() {},
  warn() {},
  error() {},
  child: () => silentLog,
};

/** A finished stage. Times are milliseconds of the monotonic clock (`performance.now()`). */
export interface StageRecord {
  /** One of few: names become labels of metrics, so they contain no id, path or digest. */
  readonly name: string;
  /** What it worked on; empty where that is obvious. */
  readonly detail: string;
  readonly started: number;
  readonly ended: number;
  readonly failed: boolean;
  /** What it threw. */
  readonly error?: unknown;
}

export interface OperationOptions {
  readonly log?: Log;
  /** Aborted when the client cancels or the daemon ends. */
  readonly signal?: AbortSignal;
  /** Called with each stage as it ends; feeds the metrics and traces. */
  readonly onStage?: (operation: Operation, stage: StageRecord) => void;
}

export class Operation {
  /** Twelve hex digits, in every log line of this operation. */
  readonly id: string;
  readonly name: string;
  readonly signal: AbortSignal;
  readonly started: number;
  readonly stages: StageRecord[];
  readonly #running: { name: string; detail: string; since: number }[];
  readonly #options: OperationOptions;
  #log: Log | undefined;

  /** `same`: the operation that this one is a view of (see `under`); `within`: the one that it is a part of. */
  constructor(name: string, options: OperationOptions = {}, same?: Operation, within = same) {
    this.name = name;
    this.#options = options;
    this.id = same?.id ?? randomId();
    this.signal = options.signal ?? new AbortController().signal;
    this.#log = same?.log;
    this.started = within?.started ?? performance.now();
    this.stages = within?.stages ?? [];
    this.#running = within ? within.#running : [];
  }

  /** Made at its first use: most calls are reads, which log nothing. */
  get log(): Log {
    this.#log ??= (this.#options.log ?? silentLog).child({ op: this.name, id: this.id });
    return this.#log;
  }

  /** What runs now, outermost first, with its age in milliseconds. */
  get running(): readonly { name: string; detail: string; forMs: number }[] {
    const now = performance.now();
    return this.#running.map(({ name, detail, since }) => ({ name, detail, forMs: now - since }));
  }

  /** Runs one named step and records its time. It checks no signal: undoing needs stages too (see `checkpoint`). */
  async stage<T>(name: string, step: () => Promise<T> | T, detail = ''): Promise<T> {
    const entry = { name, detail, since: performance.now() };
    this.#running.push(entry);
    let result: Pick<StageRecord, 'failed' | 'error'> = { failed: true };
    try {
      const value = await step();
      result = { failed: false };
      return value;
    } catch (error) {
      result = { failed: true, error };
      throw error;
    } finally {
      this.#running.splice(this.#running.indexOf(entry), 1);
      const record = { name, detail, started: entry.since, ended: performance.now(), ...result };
      this.stages.push(record);
      this.#options.onStage?.(this, record);
    }
  }

  /**
   * The name of the stage in which the error, or a cause of it, has arisen: the first that has thrown it. Stages beside it
   * that it has ended, and a failed rollback behind it, come later.
   */
  stageOf(error: unknown): string | undefined {
    const causes = new Set<unknown>();
    for (let at = error; at !== undefined && !causes.has(at); at = at instanceof Error ? at.cause : undefined)
      causes.add(at);
    const failed = this.stages.filter((stage) => stage.failed);
    return (failed.find((stage) => causes.has(stage.error)) ?? failed[0])?.name;
  }

  /** A stage with a deadline: when `limitMs` passes or the client cancels, the step's signal aborts and the error names all. */
  async deadline<T>(
    name: string,
    limitMs: number,
    step: (signal: AbortSignal) => Promise<T>,
    detail = '',
  ): Promise<T> {
    const what = `${this.name}: ${name}${detail === '' ? '' : ` ${detail}`}`;
    return this.stage(name, () => withDeadline(what, limitMs, this.signal, step), detail);
  }

  /** Throws Cancelled when the client has cancelled; called between steps that cannot be interrupted. */
  checkpoint(): void {
    if (this.signal.aborted) throw cancelled(this.name, this.signal.reason);
  }

  /** This operation (its id, log and stages), ended by another signal than the client's. */
  under(signal: AbortSignal): Operation {
    return new Operation(this.name, { ...this.#options, signal }, this);
  }

  /**
   * An operation for work that must continue when the client has cancelled: a rollback, an undo, a shared transfer. It ends
   * with `signal` alone. Its stages are this one's as well: they are what the client waited for.
   */
  detached(name: string, signal?: AbortSignal): Operation {
    const { log, onStage } = this.#options;
    const options = {
      ...(log ? { log } : {}),
      ...(onStage ? { onStage } : {}),
      ...(signal ? { signal } : {}),
    };
    return new Operation(`${this.name} ${name}`, options, undefined, this);
  }
}

const ID_BYTES = 6;
let random = Buffer.alloc(0);

/** Of random bytes that are drawn for many at once: one call of the library for each takes longer than the rest of a read. */
function randomId(): string {
  if (random.length < ID_BYTES) random = randomBytes(ID_BYTES * 256);
  const id = random.toString('hex', 0, ID_BYTES);
  random = random.subarray(ID_BYTES);
  return id;
}

/** The maximum of setTimeout; it takes a longer wait for 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

function cancelled(name: string, reason: unknown): CrispError {
  if (reason instanceof CrispError) return reason;
  return new CrispError('Cancelled', `${name}: cancelled by the client`, { cause: reason });
}

/**
 * Runs `step` with a signal that aborts at the limit or with `parent`. The promise settles at the abort even where the
 * step ignores its signal (the step's own late result is then dropped), so no wait is without end. A limit beyond 24
 * days counts as 24 days.
 */
export async function withDeadline<T>(
  name: string,
  limitMs: number,
  parent: AbortSignal,
  step: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  if (parent.aborted) throw cancelled(name, parent.reason);
  const controller = new AbortController();
  const { promise, reject } = Promise.withResolvers<never>();
  promise.catch(() => {});
  const abort = (error: CrispError) => {
    reject(error); // before the abort: this error wins the race against the step's own
    controller.abort(error);
  };
  const onParent = () => abort(cancelled(name, parent.reason));
  const timer = setTimeout(
    () => {
      abort(new CrispError('DeadlineExceeded', `${name}: no end after ${(limitMs / 1000).toFixed(1)} s`));
    },
    Math.min(limitMs, MAX_TIMER_MS),
  );
  parent.addEventListener('abort', onParent, { once: true });
  try {
    return await Promise.race([step(controller.signal), promise]);
  } finally {
    clearTimeout(timer);
    parent.removeEventListener('abort', onParent);
  }
}
