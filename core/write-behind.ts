/** Long enough that the changes of one start are one write. */
const DELAY_MS = 250;
/** A disk that refuses is asked again after this. */
const AGAIN_MS = 10_000;

export interface WriteBehindOptions {
  readonly write: (key: string, text: string) => Promise<void>;
  /** Called at once when a key's last text has been written. */
  readonly onWritten: (key: string) => void;
  readonly onError: (key: string, error: unknown) => void;
}

interface Waiting {
  text: string;
  timer: NodeJS.Timeout | undefined;
  running: Promise<void> | undefined;
}

/** Texts that are written somewhat later: of each key the last one, and one at a time. */
export class WriteBehind {
  readonly #options: WriteBehindOptions;
  readonly #waiting = new Map<string, Waiting>();

  constructor(options: WriteBehindOptions) {
    this.#options = options;
  }

  has(key: string): boolean {
    return this.#waiting.has(key);
  }

  later(key: string, text: string): void {
    const waiting = this.#waiting.get(key);
    if (waiting) waiting.text = text;
    else this.#schedule(key, { text, timer: undefined, running: undefined }, DELAY_MS);
  }

  /** Forgets what is not written yet; resolves when nothing of this key is being written. */
  async cancel(key: string): Promise<void> {
    const waiting = this.#waiting.get(key);
    if (!waiting) return;
    this.#waiting.delete(key);
    clearTimeout(waiting.timer);
    await waiting.running;
  }

  /** Writes all now; what is refused is told to `onError` and stays waiting. */
  async flush(): Promise<void> {
    await Promise.all([...this.#waiting].map(([key, waiting]) => this.#flush(key, waiting)));
  }

  async #flush(key: string, waiting: Waiting): Promise<void> {
    await waiting.running;
    if (this.#waiting.get(key) !== waiting) return;
    clearTimeout(waiting.timer);
    await this.#begin(key, waiting);
  }

  #schedule(key: string, waiting: Waiting, delayMs: number): void {
    this.#waiting.set(key, waiting);
    waiting.timer = setTimeout(() => void this.#begin(key, waiting), delayMs).unref();
  }

  #begin(key: string, waiting: Waiting): Promise<void> {
    waiting.running = this.#write(key, waiting);
    return waiting.running;
  }

  async #write(key: string, waiting: Waiting): Promise<void> {
    const { text } = waiting;
    const isCurrent = () => this.#waiting.get(key) === waiting;
    try {
      await this.#options.write(key, text);
      if (!isCurrent()) return;
      if (waiting.text !== text) return this.#schedule(key, waiting, DELAY_MS);
      this.#waiting.delete(key);
      this.#options.onWritten(key);
    } catch (error) {
      if (!isCurrent()) return;
      this.#options.onError(key, error);
      this.#schedule(key, waiting, AGAIN_MS);
    } finally {
      waiting.running = undefined;
    }
  }
}
