import { CrispError, deserializeError } from '#core/errors.ts';
import type { Job, JobResult, WorkerReply } from './worker.ts';

/** Gets the directories of the layers below one, from the top to the bottom. */
export type Below = (signal: AbortSignal) => Promise<readonly string[]>;

/** What a thread is to do, and who is told of it. */
export interface ThreadJob {
  /** Called when a thread begins. */
  readonly job: () => Job;
  readonly signal: AbortSignal;
  readonly started: () => void;
  readonly below: Below;
  /** Undefined: what the job had is lost, since its thread had to be ended because of another one. */
  readonly resolve: (value: JobResult | undefined) => void;
  readonly reject: (error: unknown) => void;
}

/** A cancelled worker that does not reply within this time is terminated, and abandoned after as long again, in ms. */
const CANCEL_MS = 5_000;

/** What a job has its thread do. */
interface OfThread {
  readonly tell: (request: { kind: 'cancel' } | { kind: 'below'; directories: readonly string[] }) => void;
  readonly terminate: () => void;
  readonly abandon: () => void;
  readonly changed: () => void;
  readonly over: () => void;
}

/** A job in a thread, until it is over. */
export class RunningJob {
  readonly place: string;
  /** Bytes that it holds while it waits for the layers below; 0: it does not wait. */
  held = 0;
  readonly #what: ThreadJob;
  readonly #thread: OfThread;
  readonly #over = new AbortController();
  /** Settles when what it waited for has ended. */
  #below: Promise<void> = Promise.resolve();
  /** Why the layers below could not be got. */
  #failure: { readonly error: unknown } | undefined;
  #timer: NodeJS.Timeout | undefined;

  constructor(what: ThreadJob, place: string, thread: OfThread) {
    this.#what = what;
    this.place = place;
    this.#thread = thread;
    what.signal.addEventListener('abort', this.#cancel, { once: true });
  }

  get isCancelled(): boolean {
    return this.#what.signal.aborted;
  }

  replied(reply: WorkerReply): void {
    if (reply.ok === undefined) this.#wait(reply.held);
    else this.#settle(() => this.#deliver(reply));
  }

  /** The thread is gone. */
  lost(error: CrispError | undefined): void {
    this.#settle(() => {
      if (this.isCancelled) this.#what.reject(this.#what.signal.reason);
      else if (error) this.#what.reject(error);
      else this.#what.resolve(undefined);
    });
  }

  readonly #cancel = (): void => {
    this.#thread.tell({ kind: 'cancel' });
    const terminate = (): void => {
      this.#thread.terminate();
      this.#timer = setTimeout(this.#thread.abandon, CANCEL_MS);
    };
    // One that waits does nothing that could keep the thread from its reply: no other job is ended for its sake.
    this.#timer = setTimeout(this.held > 0 ? () => this.lost(undefined) : terminate, CANCEL_MS);
  };

  /** Gets the layers below; the thread may take another job meanwhile. */
  #wait(held: number): void {
    this.held = held;
    this.#thread.changed();
    const waiting = AbortSignal.any([this.#what.signal, this.#over.signal]);
    this.#below = this.#what.below(waiting).then(
      (directories) => this.#goOn({ kind: 'below', directories }),
      (error) => {
        this.#failure ??= { error };
        this.#goOn({ kind: 'cancel' });
      },
    );
  }

  #goOn(request: Parameters<OfThread['tell']>[0]): void {
    if (this.#over.signal.aborted) return;
    this.held = 0;
    this.#thread.tell(request);
  }

  #settle(outcome: () => void): void {
    this.#over.abort(new CrispError('Cancelled', 'the layer above has ended'));
    clearTimeout(this.#timer);
    this.#what.signal.removeEventListener('abort', this.#cancel);
    // What it waited for may still be ending because this has left it, and leaves no file when it has.
    void this.#below.then(outcome);
    this.#thread.over();
  }

  #deliver(reply: Exclude<WorkerReply, { ok: undefined }>): void {
    if (reply.ok) this.#what.resolve(reply.value);
    else if (this.isCancelled) this.#what.reject(this.#what.signal.reason);
    else if (this.#failure) this.#what.reject(this.#failure.error);
    else this.#what.reject(deserializeError(reply.failure));
  }
}
