import type { Readable, Writable } from 'node:stream';

const LOOK_MS = 50;
/** Ten seconds of a client that takes all: who writes in the background for so long is left alone. */
const MOST_LOOKS = 200;

/** Output on its way to a client: as much is read as the client takes. */
export class Relay {
  readonly #sources = new Set<Readable>();
  readonly #blocked = new Set<Readable>();
  #movedAt = performance.now();
  #passed = 0;
  #onIdle: (() => void) | undefined;

  /** Passes on what the source says; where there is no sink, or it has closed, it is read and dropped. */
  add(source: Readable | undefined, sink: Writable | undefined): void {
    if (!source) return;
    this.#sources.add(source);
    source.on('data', (chunk: Buffer) => this.pass(chunk, source, sink));
    const over = () => this.#over(source);
    source.once('end', over).once('close', over);
  }

  /** One chunk; pauses the source until the client has taken it where that takes time. */
  pass(chunk: Buffer, source: Readable, sink: Writable | undefined): void {
    this.#movedAt = performance.now();
    this.#passed++;
    if (!sink || sink.destroyed || sink.writableEnded || sink.write(chunk)) return;
    if (sink.writableLength === 0) return; // it was more than its mark, and taken all the same
    source.pause();
    this.#blocked.add(source);
    const taken = () => {
      sink.off('drain', taken).off('close', taken);
      this.#blocked.delete(source);
      this.#movedAt = performance.now();
      source.resume();
      this.#tell();
    };
    sink.once('drain', taken).once('close', taken);
  }

  /** For how long the client has taken nothing though something waits for it, in milliseconds. */
  get stalledMs(): number {
    return this.#blocked.size > 0 ? performance.now() - this.#movedAt : 0;
  }

  /**
   * To be called when nothing more is expected: resolves when all has been passed on; also when a source stays open (a
   * process in the background holds it) but is silent for `quietLooks`, or goes on for ever. A client that takes nothing
   * is waited for as long as its connection lives; rejects with the signal's reason at its abort.
   */
  async drained(quietLooks: number, signal: AbortSignal): Promise<void> {
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    let seen = -1;
    let [quiet, all] = [0, 0];
    // Looks are counted, and no time is measured: between two of them all that lies there is read, however busy we are.
    const look = setInterval(() => {
      if (this.#blocked.size > 0) return;
      quiet = seen === this.#passed ? quiet + 1 : 0;
      seen = this.#passed;
      if (quiet >= quietLooks || ++all >= MOST_LOOKS) resolve();
    }, LOOK_MS);
    const onAbort = () => reject(signal.reason);
    signal.addEventListener('abort', onAbort, { once: true });
    this.#onIdle = resolve;
    if (signal.aborted) onAbort();
    this.#tell();
    try {
      await promise;
    } finally {
      clearInterval(look);
      signal.removeEventListener('abort', onAbort);
    }
  }

  get #idle(): boolean {
    return this.#sources.size === 0 && this.#blocked.size === 0;
  }

  #over(source: Readable): void {
    this.#sources.delete(source);
    this.#tell();
  }

  #tell(): void {
    if (this.#idle) this.#onIdle?.();
  }
}
