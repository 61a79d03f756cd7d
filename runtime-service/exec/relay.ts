import type { Readable, Writable } from 'node:stream';

const POLL_MS = 50;
/** Ten seconds of a client that reads all: a background job that still writes then is not waited for. */
const MAX_POLLS = 200;

/** Copies output to a client: as much is read as the client takes (backpressure). */
export class Relay {
  readonly #sources = new Set<Readable>();
  readonly #blocked = new Set<Readable>();
  #movedAt = performance.now();
  #passed = 0;
  #onIdle: (() => void) | undefined;

  /** Copies the source to the sink; where there is no sink, or it has closed, it is read and dropped. */
  add(source: Readable | undefined, sink: Writable | undefined): void {
    if (!source) return;
    this.#sources.add(source);
    source.on('data', (chunk: Buffer) => this.pass(chunk, source, sink));
    const onEnd = () => this.#removeSource(source);
    source.once('end', onEnd).once('close', onEnd);
  }

  /** One chunk; pauses the source until the client has taken it where that takes time. */
  pass(chunk: Buffer, source: Readable, sink: Writable | undefined): void {
    this.#movedAt = performance.now();
    this.#passed++;
    if (!sink || sink.destroyed || sink.writableEnded || sink.write(chunk)) return;
    if (sink.writableLength === 0) return; // above the high-water mark, but already written
    source.pause();
    this.#blocked.add(source);
    const taken = () => {
      sink.off('drain', taken).off('close', taken);
      this.#blocked.delete(source);
      this.#movedAt = performance.now();
      source.resume();
      this.#resolveIfIdle();
    };
    sink.once('drain', taken).once('close', taken);
  }

  /** For how long the client has read nothing although output is pending, in milliseconds. */
  get stalledMs(): number {
    return this.#blocked.size > 0 ? performance.now() - this.#movedAt : 0;
  }

  /**
   * To be called when no more output is expected: resolves when all has been copied; also when a source stays open (a
   * background process holds it) but is silent for `quietPolls`, or never ends. A client that reads nothing is waited for
   * as long as its connection is open; rejects with the signal's reason at its abort.
   */
  async drained(quietPolls: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let seen = -1;
    let [quiet, all] = [0, 0];
    // Polls are counted instead of measuring time: between two of them all pending output is read, however busy the daemon.
    const timer = setInterval(() => {
      if (this.#blocked.size > 0) return;
      quiet = seen === this.#passed ? quiet + 1 : 0;
      seen = this.#passed;
      if (quiet >= quietPolls || ++all >= MAX_POLLS) resolve();
    }, POLL_MS);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    this.#onIdle = resolve;
    if (signal.aborted) onAbort();
    this.#resolveIfIdle();
    try {
      await promise;
    } finally {
      clearInterval(timer);
      signal.removeEventListener('abort', onAbort);
    }
  }

  get #idle(): boolean {
    return this.#sources.size === 0 && this.#blocked.size === 0;
  }

  #removeSource(source: Readable): void {
    this.#sources.delete(source);
    this.#resolveIfIdle();
  }

  #resolveIfIdle(): void {
    if (this.#idle) this.#onIdle?.();
  }
}
