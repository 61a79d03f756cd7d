import { Worker } from 'node:worker_threads';
import { CrispError, describeError, deserializeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import type { Completion } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import type { UnpackRequest } from './unpack-layer.ts';
import type { Answer, Job, Order } from './worker.ts';

interface Waiting {
  readonly job: Job;
  readonly signal: AbortSignal;
  readonly resolve: (value: LayerReport | Completion) => void;
  readonly reject: (error: unknown) => void;
}

/** A cancelled worker that does not answer within this time is ended, in ms. */
const CANCEL_MS = 5_000;

/** Workers that unpack layers: made when there is work, ended when there was none for a while. */
export class UnpackPool implements AsyncDisposable {
  readonly #limit: number;
  readonly #idleMs: number;
  readonly #queue: Waiting[] = [];
  readonly #idle = new Map<Worker, NodeJS.Timeout>();
  readonly #busy = new Set<Worker>();

  constructor(limit: number, idleMs: number) {
    this.#limit = limit;
    this.#idleMs = idleMs;
  }

  /** Unpacks and verifies; see `unpackLayer`. An abort leaves a directory that is to be deleted. */
  async unpack(request: UnpackRequest, signal: AbortSignal): Promise<LayerReport> {
    return (await this.#run({ kind: 'unpack', request }, signal)) as LayerReport;
  }

  /** See `completeLayer`. */
  async complete(
    directory: string,
    lower: readonly string[],
    report: LayerReport,
    signal: AbortSignal,
  ): Promise<Completion> {
    return (await this.#run({ kind: 'complete', directory, lower, report }, signal)) as Completion;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const workers = [...this.#idle.keys(), ...this.#busy];
    for (const timer of this.#idle.values()) clearTimeout(timer);
    this.#idle.clear();
    await Promise.all(workers.map((worker) => worker.terminate()));
  }

  #run(job: Job, signal: AbortSignal): Promise<LayerReport | Completion> {
    const { promise, resolve, reject } = Promise.withResolvers<LayerReport | Completion>();
    const waiting: Waiting = { job, signal, resolve, reject };
    if (signal.aborted) reject(signal.reason);
    else this.#queue.push(waiting);
    signal.addEventListener('abort', () => this.#withdraw(waiting), { once: true });
    this.#next();
    return promise;
  }

  #withdraw(waiting: Waiting): void {
    const at = this.#queue.indexOf(waiting);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    waiting.reject(waiting.signal.reason);
  }

  #next(): void {
    const worker = this.#idle.keys().next().value;
    if (this.#queue.length === 0 || (!worker && this.#busy.size >= this.#limit)) return;
    const waiting = this.#queue.shift();
    if (waiting) this.#give(worker ?? this.#hire(), waiting);
  }

  #give(worker: Worker, waiting: Waiting): void {
    clearTimeout(this.#idle.get(worker));
    this.#idle.delete(worker);
    this.#busy.add(worker);
    let late: NodeJS.Timeout | undefined;
    const cancel = () => {
      worker.postMessage({ kind: 'cancel' } satisfies Order);
      late = setTimeout(() => void worker.terminate(), CANCEL_MS);
    };
    let failure: unknown = 'it ended';
    const answered = (answer: Answer) => settle(() => deliver(answer, waiting), true);
    const failed = (error: unknown) => {
      failure = error; // the end follows
    };
    const ended = () => {
      abandon(waiting.job);
      settle(() => waiting.reject(waiting.signal.reason ?? broken(failure)), false);
    };
    const settle = (outcome: () => void, reusable: boolean) => {
      clearTimeout(late);
      waiting.signal.removeEventListener('abort', cancel);
      // One by one: the worker's own machinery listens too.
      worker.off('message', answered).off('error', failed).off('exit', ended);
      this.#busy.delete(worker);
      if (reusable) this.#rest(worker);
      outcome();
      this.#next();
    };
    worker.on('message', answered).on('error', failed).on('exit', ended);
    waiting.signal.addEventListener('abort', cancel, { once: true });
    worker.ref();
    worker.postMessage({ kind: 'run', job: waiting.job } satisfies Order);
  }

  #hire(): Worker {
    const worker = new Worker(new URL('./worker.ts', import.meta.url));
    // One that breaks down while idle is not given work again; without a listener the daemon would end with it.
    worker.on('error', () => this.#idle.delete(worker));
    return worker;
  }

  #rest(worker: Worker): void {
    worker.unref();
    const timer = setTimeout(() => {
      this.#idle.delete(worker);
      void worker.terminate();
    }, this.#idleMs);
    timer.unref();
    this.#idle.set(worker, timer);
  }
}

/** A thread that was ended in the midst of its work leaves descriptors, which hold the files that are to be deleted. */
function abandon(job: Job): void {
  closeDescriptorsBelow(job.kind === 'unpack' ? job.request.directory : job.directory);
}

function deliver(answer: Answer, waiting: Waiting): void {
  if (answer.ok) waiting.resolve(answer.value);
  else if (waiting.signal.aborted) waiting.reject(waiting.signal.reason);
  else waiting.reject(deserializeError(answer.failure));
}

const broken = (why: unknown): CrispError =>
  new CrispError('Internal', `the unpack worker broke down: ${describeError(why)}`);
