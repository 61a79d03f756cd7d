import type { Files } from '#linux/ports/kernel.ts';

/** Makes the names in a directory durable: all that ask while one fsync runs share the next. */
export class DirectorySync {
  readonly #path: string;
  readonly #files: Pick<Files, 'syncDirectory'>;
  #running: Promise<void> | undefined;
  #next: Promise<void> | undefined;

  constructor(path: string, files: Pick<Files, 'syncDirectory'>) {
    this.#path = path;
    this.#files = files;
  }

  /** Resolves when all names that are in the directory now outlive a power cut. */
  sync(): Promise<void> {
    const running = this.#running;
    if (!running) return this.#start();
    // The one that runs may have begun before the caller's change.
    this.#next ??= running
      .catch(() => {})
      .then(() => {
        this.#next = undefined;
        return this.#start();
      });
    return this.#next;
  }

  #start(): Promise<void> {
    const run = this.#files.syncDirectory(this.#path).finally(() => {
      if (this.#running === run) this.#running = undefined;
    });
    this.#running = run;
    return run;
  }
}
