import type { ReadThread } from './read-thread.ts';
import type { Reading, WorkerResults } from './worker.ts';

/** The largest weight of one message: some four milliseconds of the thread. */
const MAX_WEIGHT = 1024;

interface PendingRead {
  readonly request: Reading;
  readonly weight: number;
  readonly resolve: (answer: WorkerResults[Reading['act']]) => void;
  readonly reject: (error: unknown) => void;
}

/** Sends the readings that are pending for in one turn as one message: on a busy machine each one waits for its turn. */
export class BatchedReadings {
  readonly #thread: Pick<ReadThread, 'request'>;
  readonly #waiting: PendingRead[] = [];
  #sending = false;

  constructor(thread: Pick<ReadThread, 'request'>) {
    this.#thread = thread;
  }

  /** `weight`: how many files it reads, about. */
  request<R extends Reading>(request: R, weight: number): Promise<WorkerResults[R['act']]> {
    return new Promise((resolve, reject) => {
      const settle = resolve as PendingRead['resolve'];
      this.#waiting.push({ request, weight, resolve: settle, reject });
      if (!this.#sending) queueMicrotask(() => void this.#sendAll());
    });
  }

  async #sendAll(): Promise<void> {
    if (this.#sending) return;
    this.#sending = true;
    while (this.#waiting.length > 0) {
      const batch = this.#next();
      try {
        const requests = batch.map(({ request }) => request);
        const results = await this.#thread.request({ act: 'batch', requests });
        for (const [index, pending] of batch.entries()) pending.resolve(results[index] ?? []);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#sending = false;
  }

  /** The first, and those behind it up to the largest weight. */
  #next(): PendingRead[] {
    let weight = 0;
    const end = this.#waiting.findIndex((pending, index) => {
      weight += pending.weight;
      return index > 0 && weight > MAX_WEIGHT;
    });
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }
}
