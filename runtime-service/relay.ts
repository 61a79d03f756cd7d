import type { Readable, Writable } from 'node:stream';

const LOOK_MS = 50;

/** Output on its way to a client: as much is read as the client takes. */
export class Relay {
  readonly #sources = new Set<Readable>();
  readonly #blocked = new Set<Readable>();
  #movedAt = performance.now();
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
   * Resolves when all has been passed on; also when a source stays open but silent for `lingerMs` (a process in the
   * background holds it), and when the client takes nothing for `stallMs`.
   */
  async drained(lingerMs: number, stallMs: number): Promise<void> {
    if (this.#idle) return;
    const since = performance.now();
    const { promise, resolve } = Promise.withResolvers<void>();
    const look = setInterval(() => {
      const still = performance.now() - Math.max(since, this.#movedAt);
      if (still >= (this.#blocked.size > 0 ? stallMs : lingerMs)) resolve();
    }, LOOK_MS);
    this.#onIdle = resolve;
    await promise;
    clearInterval(look);
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
