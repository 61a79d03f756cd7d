import { Deadlines, type ThreadOptions } from './deadlines.ts';
import type { NamespaceWorker } from './thread.ts';
import type { WorkerRequest, WorkerResults } from './worker.ts';
import { KernelWorker } from './worker-handle.ts';

/** How long a read waits for the other requests, and these for a read, before a second thread is started, in ms. */
const LOAN_MS = 3_000;
/** How long an own thread is kept, in ms. */
const KEEP_MS = 60_000;

export interface ReadThreadOptions extends ThreadOptions {
  readonly loanMs?: number;
  readonly keepMs?: number;
}

/**
 * Reads, one after another. They borrow the thread that makes namespaces, since a thread costs 11 MB: most of them take a
 * millisecond, and it is idle most of the time. Where a request of the one kind is slow or stuck, the other gets a thread of
 * its own, which ends when it is not needed any more.
 */
export class ReadThread implements AsyncDisposable {
  readonly #lender: NamespaceWorker;
  readonly #deadlines: Deadlines;
  readonly #loanMs: number;
  readonly #keepMs: number;
  #own: KernelWorker | undefined;
  #timer: NodeJS.Timeout | undefined;
  /** The workers that have the state of the walks. */
  readonly #walks = new Map<number, KernelWorker>();
  #tail: Promise<unknown> = Promise.resolve();

  constructor(
    lender: NamespaceWorker,
    { loanMs = LOAN_MS, keepMs = KEEP_MS, ...options }: ReadThreadOptions,
  ) {
    this.#lender = lender;
    this.#loanMs = loanMs;
    this.#keepMs = keepMs;
    this.#deadlines = new Deadlines({ ...options, name: 'usage' });
  }

  get deadlines(): Pick<Deadlines, 'stuck' | 'trouble'> {
    return this.#deadlines;
  }

  /** Throws as NamespaceWorker does. */
  request<R extends WorkerRequest>(request: R): Promise<WorkerResults[R['act']]> {
    const answer = this.#tail.then(() => this.#requestNow(request));
    this.#tail = answer.catch(() => {});
    return answer;
  }

  async #requestNow<R extends WorkerRequest>(request: R): Promise<WorkerResults[R['act']]> {
    this.#deadlines.refuseStuck(request);
    const loan = this.#own?.isUsable ? undefined : await this.#lender.lend(this.#loanMs);
    const worker = loan?.worker ?? this.#startOwn();
    this.#followWalk(request, worker);
    try {
      const result = await this.#deadlines.request(worker, request);
      if (request.act === 'walk' && !(result as WorkerResults['walk']).done)
        this.#walks.set(request.walk, worker);
      return result;
    } finally {
      if (loan && !loan.end() && worker.isUsable) this.#keep(worker);
    }
  }

  /** A walk whose state another thread has begins anew. */
  #followWalk(request: WorkerRequest, worker: KernelWorker): void {
    if (request.act !== 'walk' && request.act !== 'close walk') return;
    const { walk } = request;
    const at = this.#walks.get(walk);
    this.#walks.delete(walk);
    if (at?.isUsable && at !== worker) void this.#lender.request({ act: 'close walk', walk }).catch(() => {});
  }

  #startOwn(): KernelWorker {
    return this.#own?.isUsable ? this.#own : this.#keep(new KernelWorker());
  }

  #keep(worker: KernelWorker): KernelWorker {
    this.#own = worker;
    this.#retireLater();
    return worker;
  }

  #retireLater(): void {
    clearTimeout(this.#timer);
    const retire = () => {
      this.#tail = this.#tail.then(() => this.#retire());
    };
    this.#timer = setTimeout(retire, this.#keepMs).unref();
  }

  /** Between two requests: ends the own thread, unless it has the state of a walk. */
  async #retire(): Promise<void> {
    const own = this.#own;
    if (!own?.isUsable) return;
    if ([...this.#walks.values()].includes(own)) return this.#retireLater();
    this.#own = undefined;
    await own.terminate();
  }

  /** Stuck threads remain: only the end of the process ends them. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#timer);
    await this.#tail;
    if (this.#own?.isUsable) await this.#own.terminate();
    this.#own = undefined;
  }
}
