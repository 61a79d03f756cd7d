import { setTimeout as sleep } from 'node:timers/promises';
import type { Endpoint } from './endpoint.ts';
import type { Response } from './exchange.ts';
import { RegistryFailure } from './failure.ts';

/** The reason of an attempt's abort: what it would still bring is not needed. */
const DONE = new Error('another endpoint is asked');

export interface Head {
  readonly endpoint: Endpoint;
  readonly response: Response;
  /** Aborted with the request. */
  readonly signal: AbortSignal;
  /** Closes the response, whatever of it has not been read. */
  close(): void;
}

interface Attempt {
  readonly endpoint: Endpoint;
  readonly controller: AbortController;
  readonly signal: AbortSignal;
  /** Of `performance.now()`. */
  readonly started: number;
  /** Settles with the response or the error, and never rejects. */
  readonly outcome: Promise<{
    readonly attempt: Attempt;
    readonly response?: Response;
    readonly error?: unknown;
  }>;
}

/**
 * The heads of the responses of endpoints that are asked in order: the next one when the one before has failed, and also
 * when it has sent no head for a while.
 */
export class Heads implements Disposable {
  readonly #patienceMs: (endpoint: Endpoint) => number;
  readonly #signal: AbortSignal;
  readonly #open: (endpoint: Endpoint, signal: AbortSignal) => Promise<Response>;
  readonly #queue: Endpoint[];
  readonly #running = new Set<Attempt>();

  /** `patienceMs`: how long the head of an endpoint is waited for, in ms, as far as is known when it is called. */
  constructor(
    endpoints: readonly Endpoint[],
    patienceMs: (endpoint: Endpoint) => number,
    signal: AbortSignal,
    open: (endpoint: Endpoint, signal: AbortSignal) => Promise<Response>,
  ) {
    this.#queue = [...endpoints];
    this.#patienceMs = patienceMs;
    this.#signal = signal;
    this.#open = open;
  }

  /** The first head to arrive; undefined where all endpoints have failed, each reported. Throws the signal's reason. */
  async next(failed: (endpoint: Endpoint, failure: RegistryFailure) => void): Promise<Head | undefined> {
    this.#startNext();
    while (this.#running.size > 0) {
      const settled = await this.#settled();
      if (!settled) {
        this.#startNext();
        continue;
      }
      const { attempt, response, error } = settled;
      this.#running.delete(attempt);
      const { endpoint, controller, signal } = attempt;
      if (response) return { endpoint, response, signal, close: () => controller.abort(DONE) };
      controller.abort(DONE);
      if (this.#signal.aborted || !(error instanceof RegistryFailure)) throw error;
      failed(endpoint, error);
      this.#startNext();
    }
    return undefined;
  }

  /**
   * Gives up what has not replied; it is asked again, before the rest, if `next` is called. Returns those that have been
   * silent for long enough to be called mute.
   */
  putBack(): Endpoint[] {
    const given = [...this.#running];
    this.#abort();
    this.#queue.unshift(...given.map(({ endpoint }) => endpoint));
    return given.filter((attempt) => this.#leftMs(attempt) <= 0).map(({ endpoint }) => endpoint);
  }

  [Symbol.dispose](): void {
    this.#abort();
  }

  #abort(): void {
    for (const { controller } of this.#running) controller.abort(DONE);
    this.#running.clear();
  }

  #startNext(): void {
    const endpoint = this.#queue.shift();
    if (!endpoint) return;
    const controller = new AbortController();
    const signal = AbortSignal.any([this.#signal, controller.signal]);
    const outcome = this.#open(endpoint, signal).then(
      (response) => ({ attempt, response }),
      (error: unknown) => ({ attempt, error }),
    );
    const attempt: Attempt = { endpoint, controller, signal, started: performance.now(), outcome };
    this.#running.add(attempt);
  }

  /** The first attempt to end; undefined where none has in its time and there is another endpoint. */
  async #settled(): Promise<Awaited<Attempt['outcome']> | undefined> {
    const outcomes = [...this.#running].map(({ outcome }) => outcome);
    const newest = [...this.#running].at(-1);
    if (this.#queue.length === 0 || !newest) return Promise.race(outcomes);
    // Read again after each wait: an endpoint that has been connected meanwhile is waited for longer.
    for (let left = this.#leftMs(newest); left > 0; left = this.#leftMs(newest)) {
      const over = new AbortController();
      const timer = sleep(left, undefined, { signal: over.signal }).catch(() => undefined);
      const settled = await Promise.race([...outcomes, timer]).finally(() => over.abort());
      if (settled) return settled;
    }
    return undefined;
  }

  #leftMs({ started, endpoint }: Attempt): number {
    return Math.ceil(started + this.#patienceMs(endpoint) - performance.now());
  }
}
