import { Worker } from 'node:worker_threads';
import { CrispError, describeError, deserializeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import type { Job, JobResult, WorkerReply, WorkerRequest } from './worker.ts';

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

/** A worker thread. It carries out one job, and holds images of others that wait for the layers below them. */
export class UnpackThread {
  readonly #worker: Worker;
  readonly #jobs = new Map<number, RunningJob>();
  readonly #changed: () => void;
  #ids = 0;
  #failure: unknown = 'it exited';
  /** Whether it gets no more jobs. */
  #ended = false;
  /** Whether that is because of one job, which did not end when it was cancelled. */
  #endedForOne = false;

  /** `changed`: called when it can take another job, or none any more. */
  constructor(changed: () => void) {
    this.#changed = changed;
    this.#worker = new Worker(new URL('./worker.ts', import.meta.url));
    this.#worker
      .on('message', (reply: WorkerReply) => this.#jobs.get(reply.id)?.replied(reply))
      .on('error', (error) => {
        this.#failure = error; // the exit event follows
      })
      .on('exit', () => this.#exited());
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Whether a job is carried out that does not wait. */
  get isBusy(): boolean {
    return [...this.#jobs.values()].some(({ held }) => held === 0);
  }

  /** Whether it holds nothing either. */
  get isIdle(): boolean {
    return this.#jobs.size === 0;
  }

  /** Bytes of memory of the images that wait. */
  get held(): number {
    return [...this.#jobs.values()].reduce((sum, { held }) => sum + held, 0);
  }

  run(what: ThreadJob): void {
    const id = this.#ids++;
    const job = what.job();
    const running = new RunningJob(what, placeOf(job), {
      tell: (request) => this.#worker.postMessage({ id, ...request } satisfies WorkerRequest),
      terminate: () => {
        this.#endedForOne = true;
        void this.end();
      },
      abandon: () => this.#abandon(),
      changed: () => this.#changed(),
      over: () => {
        this.#jobs.delete(id);
        if (this.isIdle) this.#worker.unref();
        this.#changed();
      },
    });
    this.#jobs.set(id, running);
    this.#worker.ref();
    what.started();
    this.#worker.postMessage({ id, kind: 'run', job } satisfies WorkerRequest);
  }

  /** Terminates it; its jobs fail. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#worker.terminate();
  }

  #exited(): void {
    this.#ended = true;
    // It leaks descriptors, which keep the files that are to be deleted.
    for (const { place } of this.#jobs.values()) closeDescriptorsBelow(place);
    this.#abandon();
  }

  /** A thread in a system call that does not return (a dead network disk) does not end. */
  #abandon(): void {
    this.#ended = true;
    const error = this.#endedForOne ? undefined : workerDied(this.#failure);
    for (const job of [...this.#jobs.values()]) job.lost(error);
    this.#changed();
  }
}

interface OfThread {
  readonly tell: (request: { kind: 'cancel' } | { kind: 'below'; directories: readonly string[] }) => void;
  readonly terminate: () => void;
  readonly abandon: () => void;
  readonly changed: () => void;
  readonly over: () => void;
}

/** A job in a thread, until it is over. */
class RunningJob {
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

/** Where the files of a job are. */
function placeOf(job: Job): string {
  if (job.kind === 'image') return job.request.image;
  return job.kind === 'unpack' ? job.request.directory : job.directory;
}

const workerDied = (why: unknown): CrispError =>
  new CrispError('Internal', `the unpack worker failed: ${describeError(why)}`);
