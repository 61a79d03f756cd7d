import { open } from 'node:fs/promises';
import { naming } from '#linux/libc/errno.ts';
import type { Staging } from './staging.ts';

/** The file of a blob in transfer, empty at first. It is deleted at the end of the scope unless committed. */
export class Ingest implements AsyncDisposable {
  readonly path: string;
  readonly #staging: Staging;
  readonly #adopt: (path: string) => Promise<void>;
  #committed = false;

  private constructor(path: string, staging: Staging, adopt: (path: string) => Promise<void>) {
    this.path = path;
    this.#staging = staging;
    this.#adopt = adopt;
  }

  static async open(staging: Staging, adopt: (path: string) => Promise<void>): Promise<Ingest> {
    const path = staging.path('blob');
    await naming(`make ${path}`, async () => (await open(path, 'wx', 0o600)).close());
    return new Ingest(path, staging, adopt);
  }

  /** Moves the blob into the store; the caller has verified it. */
  async commit(): Promise<void> {
    await this.#adopt(this.path);
    this.#committed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (!this.#committed) await this.#staging.discard(this.path);
  }
}
