import type { NamespaceWorker } from './thread.ts';
import type { Answers, Reading } from './worker.ts';

/** What one message may weigh: some four milliseconds of the thread, which makes pods besides. */
const MOST = 1024;

interface Asked {
  readonly request: Reading;
  readonly weight: number;
  readonly resolve: (answer: Answers[Reading['act']]) => void;
  readonly reject: (error: unknown) => void;
}

/** Sends the readings that are asked for in one turn as one message: on a busy machine each one waits for its turn. */
export class BatchedReadings {
  readonly #thread: Pick<NamespaceWorker, 'ask'>;
  readonly #waiting: Asked[] = [];
  #sending = false;

  constructor(thread: Pick<NamespaceWorker, 'ask'>) {
    this.#thread = thread;
  }

  /** `weight`: how many files it reads, about. */
  ask<R extends Reading>(request: R, weight: number): Promise<Answers[R['act']]> {
    return new Promise((resolve, reject) => {
      const told = resolve as Asked['resolve'];
      this.#waiting.push({ request, weight, resolve: told, reject });
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
        const answers = await this.#thread.ask({ act: 'several', requests });
        for (const [index, asked] of batch.entries()) asked.resolve(answers[index] ?? []);
      } catch (error) {
        for (const { reject } of batch) reject(error);
      }
    }
    this.#sending = false;
  }

  /** The first, and those behind it as long as they weigh little enough together. */
  #next(): Asked[] {
    let weight = 0;
    const end = this.#waiting.findIndex((asked, index) => {
      weight += asked.weight;
      return index > 0 && weight > MOST;
    });
    return this.#waiting.splice(0, end === -1 ? this.#waiting.length : end);
  }
}
