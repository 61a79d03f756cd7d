import { Worker } from 'node:worker_threads';
import { CrispError, describeError, deserializeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import type { RingMemory } from '../byte-ring.ts';
import type { Completion } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import type { UnpackRequest } from './unpack-layer.ts';
import type { Job, JobResult, WorkerReply, WorkerRequest } from './worker.ts';
import type { ImageRequest, WrittenLayer } from './write-image.ts';

interface QueuedJob {
  /** Called when a thread begins. */
  readonly job: () => Job;
  readonly signal: AbortSignal;
  readonly started: () => void;
  readonly below: Below;
  readonly resolve: (value: JobResult) => void;
  readonly reject: (error: unknown) => void;
}

/** Gets the directories of the layers below one, from the top to the bottom. */
export type Below = (signal: AbortSignal) => Promise<readonly string[]>;

/** A request that waits for a thread: the memory that its archive comes through is made when one begins. */
export type Queued<R extends { readonly archive: unknown }> = Omit<R, 'archive'> & {
  readonly archive: Archive;
};

/** A file, or what makes the memory of a stream. */
export type Archive = string | (() => RingMemory);

const nothingBelow: Below = () => Promise.resolve([]);

/** A cancelled worker that does not reply within this time is terminated, and abandoned after as long again, in ms. */
const CANCEL_MS = 5_000;

/** Workers that unpack layers: started on demand, terminated after an idle time. */
export class UnpackPool implements AsyncDisposable {
  readonly #limit: number;
  readonly #idleMs: number;
  readonly #queue: QueuedJob[] = [];
  readonly #idle = new Map<Worker, NodeJS.Timeout>();
  readonly #busy = new Set<Worker>();
  /** Those whose image waits for the layers below: they take no job's place, so those layers can be written. */
  readonly #waiting = new Set<Worker>();
  #closed = false;

  constructor(limit: number, idleMs: number) {
    this.#limit = limit;
    this.#idleMs = idleMs;
  }

  /**
   * Unpacks and verifies; see `unpackLayer`. After an abort it settles when the thread has ended its work, within ten seconds;
   * the caller deletes the directory. `started`: called when a thread begins.
   */
  async unpack(
    request: Queued<UnpackRequest>,
    signal: AbortSignal,
    started = () => {},
  ): Promise<LayerReport> {
    const job = (): Job => ({ kind: 'unpack', request: withArchive(request) });
    return (await this.#run(job, signal, { started })) as LayerReport;
  }

  /**
   * Writes an EROFS image; see `writeImage`, also for the outcome without one. At most as many images wait for layers below
   * as there are workers. `below` is aborted when the thread no longer waits for it, and has settled when this settles.
   */
  async writeImage(
    request: Queued<ImageRequest>,
    below: Below,
    signal: AbortSignal,
    started = () => {},
  ): Promise<WrittenLayer> {
    const job = (): Job => ({ kind: 'image', request: withArchive(request) });
    return (await this.#run(job, signal, { started, below })) as WrittenLayer;
  }

  /** See `completeLayer`. */
  async complete(
    directory: string,
    lower: readonly string[],
    report: LayerReport,
    signal: AbortSignal,
  ): Promise<Completion> {
    return (await this.#run(() => ({ kind: 'complete', directory, lower, report }), signal)) as Completion;
  }

  /** Ends the threads; running and later jobs fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const queued of [...this.#queue]) this.#dequeue(queued, closed());
    const workers = [...this.#idle.keys(), ...this.#busy, ...this.#waiting];
    for (const timer of this.#idle.values()) clearTimeout(timer);
    this.#idle.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #run(
    job: () => Job,
    signal: AbortSignal,
    { started = () => {}, below = nothingBelow }: Partial<Pick<QueuedJob, 'started' | 'below'>> = {},
  ): Promise<JobResult> {
    const { promise, resolve, reject } = Promise.withResolvers<JobResult>();
    const queued: QueuedJob = { job, signal, started, below, resolve, reject };
    if (signal.aborted) reject(signal.reason);
    else if (this.#closed) reject(closed());
    else this.#queue.push(queued);
    signal.addEventListener('abort', () => this.#dequeue(queued, signal.reason), { once: true });
    this.#next();
    return promise;
  }

  #dequeue(queued: QueuedJob, reason: unknown): void {
    const at = this.#queue.indexOf(queued);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    queued.reject(reason);
  }

  #next(): void {
    const worker = this.#idle.keys().next().value;
    if (this.#queue.length === 0 || (!worker && this.#busy.size >= this.#limit)) return;
    const queued = this.#queue.shift();
    if (queued) this.#assign(worker ?? this.#spawn(), queued);
  }

  #assign(worker: Worker, queued: QueuedJob): void {
    clearTimeout(this.#idle.get(worker));
    this.#idle.delete(worker);
    this.#busy.add(worker);
    let killTimer: NodeJS.Timeout | undefined;
    const cancel = () => {
      worker.postMessage({ kind: 'cancel' } satisfies WorkerRequest);
      killTimer = setTimeout(terminate, CANCEL_MS);
    };
    const terminate = () => {
      void worker.terminate();
      // A thread in a system call that does not return (a dead network disk) does not end.
      killTimer = setTimeout(() => settle(() => queued.reject(queued.signal.reason), false), CANCEL_MS);
    };
    const job = queued.job();
    let failure: unknown = 'it exited';
    /** Why the layers below could not be got. */
    let lost: { readonly error: unknown } | undefined;
    const over = new AbortController();
    const waiting = AbortSignal.any([queued.signal, over.signal]);
    let answered: Promise<void> = Promise.resolve();
    // What comes after the job's end must not reach the job that the thread has by then.
    const tell = (request: WorkerRequest) => {
      if (!over.signal.aborted) worker.postMessage(request);
    };
    const replied = (reply: WorkerReply) => {
      if (reply.ok !== undefined) settle(() => deliver(reply, queued, lost), true);
      else
        answered = this.#answer(worker, () => queued.below(waiting), tell).catch((error) => {
          lost ??= { error };
          tell({ kind: 'cancel' });
        });
    };
    const failed = (error: unknown) => {
      failure = error; // the exit event follows
    };
    const ended = () => {
      closeLeakedDescriptors(job);
      settle(() => queued.reject(queued.signal.reason ?? workerDied(failure)), false);
    };
    const settle = (outcome: () => void, reusable: boolean) => {
      over.abort(new CrispError('Cancelled', 'the layer above has ended'));
      clearTimeout(killTimer);
      queued.signal.removeEventListener('abort', cancel);
      // One by one: Node has its own listeners on the worker.
      worker.off('message', replied).off('error', failed).off('exit', ended);
      this.#busy.delete(worker);
      this.#waiting.delete(worker);
      if (reusable) this.#park(worker);
      // What it waited for may still be ending because this has left it, and leaves no file when it has.
      void answered.then(outcome);
      this.#next();
    };
    worker.on('message', replied).on('error', failed).on('exit', ended);
    queued.signal.addEventListener('abort', cancel, { once: true });
    worker.ref();
    queued.started();
    worker.postMessage({ kind: 'run', job } satisfies WorkerRequest);
  }

  /** Gives a worker the layers below. Meanwhile another job may run, unless too many wait already. */
  async #answer(
    worker: Worker,
    below: () => ReturnType<Below>,
    tell: (request: WorkerRequest) => void,
  ): Promise<void> {
    let directories: readonly string[] | undefined;
    if (this.#waiting.size < this.#limit) {
      this.#busy.delete(worker);
      this.#waiting.add(worker);
      this.#next();
      directories = await below();
    }
    tell({ kind: 'below', directories });
  }

  #spawn(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    // A worker that fails while idle gets no more jobs; without a listener its error would end the daemon.
    worker.on('error', () => this.#idle.delete(worker));
    return worker;
  }

  #park(worker: Worker): void {
    if (this.#busy.size + this.#idle.size >= this.#limit) {
      void worker.terminate(); // one more has taken its place while it waited
      return;
    }
    worker.unref();
    const timer = setTimeout(() => {
      this.#idle.delete(worker);
      void worker.terminate();
    }, this.#idleMs);
    timer.unref();
    this.#idle.set(worker, timer);
  }
}

const withArchive = <R extends Queued<{ readonly archive: unknown }>>(request: R) => ({
  ...request,
  archive: typeof request.archive === 'string' ? request.archive : request.archive(),
});

/** A thread that was terminated during its work leaks descriptors, which keep the files that are to be deleted. */
function closeLeakedDescriptors(job: Job): void {
  if (job.kind === 'image') closeDescriptorsBelow(job.request.image);
  else closeDescriptorsBelow(job.kind === 'unpack' ? job.request.directory : job.directory);
}

function deliver(
  reply: Exclude<WorkerReply, { ok: undefined }>,
  queued: QueuedJob,
  lost: { readonly error: unknown } | undefined,
): void {
  if (reply.ok) queued.resolve(reply.value);
  else if (queued.signal.aborted) queued.reject(queued.signal.reason);
  else if (lost) queued.reject(lost.error);
  else queued.reject(deserializeError(reply.failure));
}

const closed = (): CrispError =>
  new CrispError('Unavailable', 'the image service is closed', { hint: 'try again when crisp runs again' });

const workerDied = (why: unknown): CrispError =>
  new CrispError('Internal', `the unpack worker failed: ${describeError(why)}`);
