import { Worker } from 'node:worker_threads';
import { CrispError } from '#core/errors.ts';
import type { Answers, WorkerReply, WorkerRequest } from './namespace-worker.ts';

/** The worker thread: asked one thing after another, replaced when it is lost. */
export class VisitingThread implements AsyncDisposable {
  #worker: Worker | undefined;
  #tail: Promise<unknown> = Promise.resolve();

  /** Starts it ahead of the first request, which would have to wait for some 80 ms. */
  warm(): void {
    this.#started();
  }

  ask<R extends WorkerRequest>(request: R): Promise<Answers[R['act']]> {
    const answer = this.#tail.then(() => this.#askNow(request));
    this.#tail = answer.catch(() => {});
    return answer;
  }

  async #askNow<R extends WorkerRequest>(request: R): Promise<Answers[R['act']]> {
    const worker = this.#started();
    const { promise, resolve, reject } = Promise.withResolvers<WorkerReply>();
    const lost = (cause?: unknown) => {
      this.#worker = undefined;
      reject(new CrispError('Unavailable', `the namespace thread was lost at "${request.act}"`, { cause }));
    };
    worker.once('message', resolve).once('error', lost).once('exit', lost).ref();
    worker.postMessage(request);
    try {
      const reply = await promise;
      if ('value' in reply) return reply.value as Answers[R['act']];
      if (reply.stranded) this.#worker = undefined;
      const { code = 'Internal', message, hint, errno } = reply.error;
      throw new CrispError(code, message, { ...(hint ? { hint } : {}), ...(errno ? { errno } : {}) });
    } finally {
      worker.off('message', resolve).off('error', lost).off('exit', lost).unref();
    }
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new Worker(new URL('./namespace-worker.ts', import.meta.url), {
      // Descriptors made in the thread are handed to the main one: they must not be closed with it.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 },
    });
    worker.on('error', () => {});
    worker.once('exit', () => {
      if (this.#worker === worker) this.#worker = undefined;
    });
    worker.unref();
    this.#worker = worker;
    return worker;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#tail;
    await this.#worker?.terminate();
    this.#worker = undefined;
  }
}
