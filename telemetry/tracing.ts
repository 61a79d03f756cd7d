/**
 * Sends spans to a collector of OpenTelemetry by OTLP over HTTP in JSON. Loaded only where an endpoint is set. Calls
 * never wait for it: spans that a slow or absent collector does not accept are dropped and counted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { type FinishedCall, parseTraceparent, type Span, spansOf, traceRequest } from './spans.ts';

const SEND_EVERY_MS = 2000;
const SEND_TIMEOUT_MS = 10_000;
const CLOSE_MS = 2000;
/** Spans queued for the collector. */
const MAX_QUEUED = 4096;
const MAX_BATCH = 1024;
/** How often a failing collector is logged. */
const LOG_EVERY_MS = 60_000;
const MILLION = 1_000_000;

export interface TracingOptions {
  /** `http://127.0.0.1:4318`; a path in it replaces /v1/traces. */
  readonly endpoint: string;
  /** How many of a million calls without a trace context are traced. */
  readonly samplesPerMillion: number;
  readonly version: string;
  readonly warn: (fields: object, message: string) => void;
}

export class Tracing implements AsyncDisposable {
  readonly #options: TracingOptions;
  readonly #url: string;
  readonly #queue: Span[] = [];
  readonly #timer: NodeJS.Timeout;
  #sending: Promise<void> | undefined;
  #dropped = 0;
  #logged = Number.NEGATIVE_INFINITY;

  constructor(options: TracingOptions) {
    this.#options = options;
    const url = new URL(options.endpoint);
    if (url.pathname === '/') url.pathname = '/v1/traces';
    this.#url = url.href;
    this.#timer = setInterval(() => void this.#send(), SEND_EVERY_MS).unref();
  }

  /** Queues a finished call if the client or this process samples it. */
  call(call: FinishedCall): void {
    const parent = parseTraceparent(call.traceparent);
    const isSampled = parent ? parent.sampled : Math.random() * MILLION < this.#options.samplesPerMillion;
    if (!isSampled) return;
    const spans = spansOf(call, parent);
    if (this.#queue.length + spans.length > MAX_QUEUED) this.#dropped += spans.length;
    else this.#queue.push(...spans);
  }

  /** Sends queued spans once, with a timeout: a slow collector does not delay the daemon's exit. */
  async [Symbol.asyncDispose](): Promise<void> {
    clearInterval(this.#timer);
    const last = async (): Promise<void> => {
      await this.#sending;
      await this.#send();
    };
    await Promise.race([last(), sleep(CLOSE_MS, undefined, { ref: false })]);
  }

  #send(): Promise<void> {
    this.#sending ??= this.#sendBatch().finally(() => {
      this.#sending = undefined;
    });
    return this.#sending;
  }

  async #sendBatch(): Promise<void> {
    const spans = this.#queue.splice(0, MAX_BATCH);
    if (spans.length === 0) return;
    try {
      const { ok, status, body } = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: traceRequest(spans, this.#options.version),
        signal: AbortSignal.timeout(SEND_TIMEOUT_MS),
        redirect: 'error',
      });
      await body?.cancel();
      if (!ok) throw new Error(`HTTP status ${status}`);
    } catch (error) {
      this.#dropped += spans.length;
      this.#logFailure(error);
    }
  }

  #logFailure(error: unknown): void {
    if (performance.now() - this.#logged < LOG_EVERY_MS) return;
    this.#logged = performance.now();
    const fields = { endpoint: this.#url, dropped: this.#dropped, error: describeError(error) };
    this.#options.warn(fields, 'the trace collector does not accept spans');
  }
}
