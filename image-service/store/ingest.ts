import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import { CrispError } from '#core/errors.ts';
import type { Digest } from '#core/ids.ts';
import { naming } from '#linux/libc/errno.ts';
import type { BlobSink } from '../registry/transfer.ts';
import type { Staging } from './staging.ts';

/** Network reads are small; writes to the disk are batched to this size. */
const PORTION = 1 << 20;

/** A blob in transfer: each byte is hashed as it arrives. It is deleted at the end of the scope unless committed. */
export class Ingest implements BlobSink, AsyncDisposable {
  readonly #digest: Digest;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #staging: Staging;
  readonly #adopt: (path: string, size: number) => Promise<void>;
  readonly #portion = Buffer.allocUnsafe(PORTION);
  #filled = 0;
  #written = 0;
  #hash: Hash = createHash('sha256');
  #committed = false;

  private constructor(
    digest: Digest,
    path: string,
    file: FileHandle,
    staging: Staging,
    adopt: (path: string, size: number) => Promise<void>,
  ) {
    this.#digest = digest;
    this.#path = path;
    this.#file = file;
    this.#staging = staging;
    this.#adopt = adopt;
  }

  static async open(
    staging: Staging,
    digest: Digest,
    adopt: (path: string, size: number) => Promise<void>,
  ): Promise<Ingest> {
    const path = staging.path('blob');
    const file = await naming(`make ${path}`, () => open(path, 'wx', 0o600));
    return new Ingest(digest, path, file, staging, adopt);
  }

  get received(): number {
    return this.#written + this.#filled;
  }

  async write(piece: Buffer): Promise<void> {
    this.#hash.update(piece);
    for (let at = 0; at < piece.length; ) {
      const count = piece.copy(this.#portion, this.#filled, at);
      this.#filled += count;
      at += count;
      if (this.#filled === PORTION) await this.#flush();
    }
  }

  async restart(): Promise<void> {
    this.#filled = 0;
    this.#written = 0;
    this.#hash = createHash('sha256');
    await naming(`empty ${this.#path}`, () => this.#file.truncate(0));
  }

  verify(): boolean {
    return `sha256:${this.#hash.copy().digest('hex')}` === this.#digest;
  }

  /** Moves the verified blob into the store. Throws DataLoss where the bytes do not have the digest. */
  async commit(): Promise<void> {
    await this.#flush();
    if (!this.verify())
      throw new CrispError('DataLoss', `blob ${this.#digest}: the bytes do not have this digest`, {
        hint: 'fetch it again; if that does not help, a proxy or the registry serves damaged content',
      });
    await this.#adopt(this.#path, this.#written);
    this.#committed = true;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      await this.#file.close();
    } finally {
      if (!this.#committed) await this.#staging.discard(this.#path);
    }
  }

  async #flush(): Promise<void> {
    await naming(`write blob ${this.#digest}`, async () => {
      for (let at = 0; at < this.#filled; ) {
        const { bytesWritten } = await this.#file.write(this.#portion, at, this.#filled - at, this.#written);
        at += bytesWritten;
        this.#written += bytesWritten;
      }
    });
    this.#filled = 0;
  }
}
