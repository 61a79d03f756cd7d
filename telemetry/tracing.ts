/**
 * Sends spans to a collector of OpenTelemetry by OTLP over HTTP in JSON. Loaded only where an endpoint is set. Calls
 * never wait for it: what a slow or absent collector does not take is dropped and counted.
 */
import { setTimeout as sleep } from 'node:timers/promises';
import { describeError } from '#core/errors.ts';
import { type FinishedCall, parseTraceparent, type Span, spansOf, traceRequest } from './spans.ts';

const SEND_EVERY_MS = 2000;
const SEND_LIMIT_MS = 10_000;
const CLOSE_MS = 2000;
/** Spans that wait for the collector. */
const MOST_WAITING = 4096;
const MOST_AT_ONCE = 1024;
/** How often a failing collector is told of in the log. */
const TELL_EVERY_MS = 60_000;
const MILLION = 1_000_000;

export interface TracingOptions {
  /** `http://127.0.0.1:4318`; a path of its own replaces /v1/traces. */
  readonly endpoint: string;
  /** Of a million calls without a trace context of their own, how many are traced. */
  readonly samplesPerMillion: number;
  readonly version: string;
  readonly warn: (fields: object, message: string) => void;
}

export class Tracing implements AsyncDisposable {
  readonly #options: TracingOptions;
  readonly #url: string;
  readonly #waiting: Span[] = [];
  readonly #timer: NodeJS.Timeout;
  #sending: Promise<void> | undefined;
  #dropped = 0;
  #told = Number.NEGATIVE_INFINITY;

  constructor(options: TracingOptions) {
    this.#options = options;
    const url = new URL(options.endpoint);
    if (url.pathname === '/') url.pathname = '/v1/traces';
    this.#url = url.href;
    this.#timer = setInterval(() => void this.#send(), SEND_EVERY_MS).unref();
  }

  /** Takes a finished call, where its client traces it or it is one of the samples. */
  call(call: FinishedCall): void {
    const parent = parseTraceparent(call.traceparent);
    const isWanted = parent ? parent.sampled : Math.random() * MILLION < this.#options.samplesPerMillion;
    if (!isWanted) return;
    const spans = spansOf(call, parent);
    if (this.#waiting.length + spans.length > MOST_WAITING) this.#dropped += spans.length;
    else this.#waiting.push(...spans);
  }

  /** Sends what waits, once; the end of the daemon waits for no collector. */
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
    const spans = this.#waiting.splice(0, MOST_AT_ONCE);
    if (spans.length === 0) return;
    try {
      const { ok, status, body } = await fetch(this.#url, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: traceRequest(spans, this.#options.version),
        signal: AbortSignal.timeout(SEND_LIMIT_MS),
        redirect: 'error',
      });
      await body?.cancel();
      if (!ok) throw new Error(`it answered ${status}`);
    } catch (error) {
      this.#dropped += spans.length;
      this.#tell(error);
    }
  }

  #tell(error: unknown): void {
    if (performance.now() - this.#told < TELL_EVERY_MS) return;
    this.#told = performance.now();
    const fields = { endpoint: this.#url, dropped: this.#dropped, error: describeError(error) };
    this.#options.warn(fields, 'the collector of traces does not take spans');
  }
}
