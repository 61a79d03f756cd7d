/**
 * The worker thread for calls that must be synchronous: it takes one request after another, and is replaced when it is
 * lost or stuck (deadlines.ts). While it has no request of its own it is lent for reads (read-thread.ts).
 */
import { Deadlines, type ThreadOptions } from './deadlines.ts';
import type { WorkerRequest, WorkerResults } from './worker.ts';
import { KernelWorker } from './worker-handle.ts';

/** A worker for one request of the borrower. */
export interface Loan {
  readonly worker: KernelWorker;
  /** To be called once the request has settled. Whether the worker is the lender's again; if not, it is the borrower's. */
  readonly end: () => boolean;
}

export class NamespaceWorker implements AsyncDisposable {
  readonly #deadlines: Deadlines;
  #worker: KernelWorker | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  constructor(options: ThreadOptions = {}) {
    this.#deadlines = new Deadlines(options);
  }

  /** Starts it ahead of the first request, which would have to wait for some 80 ms. */
  warm(): void {
    this.#usable();
  }

  get deadlines(): Pick<Deadlines, 'stuck' | 'trouble'> {
    return this.#deadlines;
  }

  /**
   * Throws what the request throws; DeadlineExceeded where it does not return; Unavailable where the same request is stuck
   * already, where too many are, and where the thread is lost.
   */
  request<R extends WorkerRequest>(request: R): Promise<WorkerResults[R['act']]> {
    const answer = this.#tail.then(() => {
      this.#deadlines.refuseStuck(request);
      return this.#deadlines.request(this.#usable(), request);
    });
    this.#tail = answer.catch(() => {});
    return answer;
  }

  /**
   * Lends the worker, once the requests before have settled; undefined where they take longer than `limitMs`. A loan of
   * more than `limitMs` ends by itself: the worker is the borrower's from then on, and another takes the requests here.
   */
  lend(limitMs: number): Promise<Loan | undefined> {
    const { promise, resolve } = Promise.withResolvers<Loan | undefined>();
    let isLate = false;
    const timer = setTimeout(() => {
      isLate = true;
      resolve(undefined);
    }, limitMs);
    this.#tail = this.#tail.then(() => {
      clearTimeout(timer);
      return isLate ? undefined : this.#untilEnd(resolve, limitMs);
    });
    return promise;
  }

  #untilEnd(give: (loan: Loan) => void, limitMs: number): Promise<void> {
    const ended = Promise.withResolvers<void>();
    const worker = this.#usable();
    let timer: NodeJS.Timeout | undefined;
    const giveUp = () => {
      if (this.#worker === worker) this.#worker = undefined;
      ended.resolve();
    };
    const end = () => {
      clearTimeout(timer);
      ended.resolve();
      return this.#worker === worker;
    };
    // The time that a thread needs to start is not the read's.
    const startTimer = () => {
      timer = setTimeout(giveUp, limitMs);
    };
    void worker.ready.then(startTimer, () => {});
    give({ worker, end });
    return ended.promise;
  }

  #usable(): KernelWorker {
    if (!this.#worker?.isUsable) this.#worker = new KernelWorker();
    return this.#worker;
  }

  /** Stuck threads remain: only the end of the process ends them. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail;
    if (this.#worker?.isUsable) await this.#worker.terminate();
    this.#worker = undefined;
  }
}
