/** Where the download worker puts the bytes of a blob: a file, or memory. Each byte is hashed as it arrives. */
import { createHash, type Hash } from 'node:crypto';
import { type FileHandle, open } from 'node:fs/promises';
import type { Digest } from '#core/ids.ts';
import { naming } from '#linux/libc/errno.ts';
import type { BlobSink } from '../registry/transfer.ts';

/** Network reads are small; writes to the disk are batched to this size. */
const PORTION = 1 << 20;
/** The least time between two reports of progress, in ms. */
const PROGRESS_MS = 200;

/** A blob in transfer to a file. */
export class BlobFile implements BlobSink, AsyncDisposable {
  readonly #digest: Digest;
  readonly #path: string;
  readonly #file: FileHandle;
  readonly #progress: (received: number) => void;
  readonly #portion = Buffer.allocUnsafeSlow(PORTION);
  #filled = 0;
  #written = 0;
  #hash: Hash = createHash('sha256');
  #report: NodeJS.Timeout | undefined;

  private constructor(digest: Digest, path: string, file: FileHandle, progress: (received: number) => void) {
    this.#digest = digest;
    this.#path = path;
    this.#file = file;
    this.#progress = progress;
  }

  /** The file exists: a caller that has given up and deleted it must not find it created again. */
  static async open(digest: Digest, path: string, progress: (received: number) => void): Promise<BlobFile> {
    const file = await naming(`open ${path}`, () => open(path, 'r+'));
    return new BlobFile(digest, path, file, progress);
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
      if (this.#filled === PORTION) await this.flush();
    }
    // A timer, so that the last bytes before a stall are reported, too.
    this.#report ??= setTimeout(() => {
      this.#report = undefined;
      this.#progress(this.received);
    }, PROGRESS_MS);
  }

  async restart(): Promise<void> {
    this.#filled = 0;
    this.#written = 0;
    this.#hash = createHash('sha256');
    await naming(`empty ${this.#path}`, () => this.#file.truncate(0));
    this.#progress(0);
  }

  verify(): boolean {
    return `sha256:${this.#hash.copy().digest('hex')}` === this.#digest;
  }

  /** Writes what is in memory yet. */
  async flush(): Promise<void> {
    await naming(`write blob ${this.#digest}`, async () => {
      for (let at = 0; at < this.#filled; ) {
        const { bytesWritten } = await this.#file.write(this.#portion, at, this.#filled - at, this.#written);
        at += bytesWritten;
        this.#written += bytesWritten;
      }
    });
    this.#filled = 0;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#report);
    await this.#file.close();
  }
}

/** A small blob in memory; the manifest's size, limited before, is its bound. */
export class BlobBytes implements BlobSink {
  readonly #digest: Digest;
  #pieces: Buffer[] = [];
  received = 0;

  constructor(digest: Digest) {
    this.#digest = digest;
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#pieces);
  }

  async write(piece: Buffer): Promise<void> {
    this.#pieces.push(Buffer.from(piece));
    this.received += piece.length;
  }

  async restart(): Promise<void> {
    this.#pieces = [];
    this.received = 0;
  }

  verify(): boolean {
    return `sha256:${createHash('sha256').update(this.bytes).digest('hex')}` === this.#digest;
  }
}
