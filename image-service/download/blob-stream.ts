import { createHash, type Hash } from 'node:crypto';
import type { Digest } from '#core/ids.ts';
import { type RingMemory, RingWriter } from '../byte-ring.ts';
import type { BlobSink } from '../registry/transfer.ts';
import type { BlobFile } from './blob-sinks.ts';

/** The least time between two reports of progress, in ms. */
const PROGRESS_MS = 200;

interface StreamParts {
  /** Gets the bytes as well. */
  readonly file: BlobFile | undefined;
  readonly progress: (received: number) => void;
  readonly signal: AbortSignal;
}

/**
 * A blob on its way to the thread that unpacks it. What that thread does not take is not read from the connection either:
 * `write` waits, which no limit of the transfer counts.
 */
export class BlobStream implements BlobSink, Disposable {
  received = 0;
  readonly #digest: Digest;
  readonly #ring: RingWriter;
  readonly #parts: StreamParts;
  #hash: Hash = createHash('sha256');
  #report: NodeJS.Timeout | undefined;

  constructor(digest: Digest, to: RingMemory, parts: StreamParts) {
    this.#digest = digest;
    this.#ring = new RingWriter(to);
    this.#parts = parts;
  }

  async write(piece: Buffer): Promise<void> {
    this.#hash.update(piece);
    await this.#parts.file?.write(piece);
    await this.#ring.write(piece, this.#parts.signal);
    this.received += piece.length;
    // A timer, so that the last bytes before a stall are reported, too.
    this.#report ??= setTimeout(() => {
      this.#report = undefined;
      this.#parts.progress(this.received);
    }, PROGRESS_MS);
  }

  async restart(): Promise<void> {
    const nothing = this.received === 0;
    this.received = 0;
    this.#hash = createHash('sha256');
    await this.#parts.file?.restart();
    this.#parts.progress(0);
    if (!nothing) await this.#ring.restart(this.#parts.signal);
  }

  verify(): boolean {
    return `sha256:${this.#hash.copy().digest('hex')}` === this.#digest;
  }

  /** Tells the reader that the bytes are the right ones, and all. */
  async complete(): Promise<void> {
    await this.#parts.file?.flush();
    this.#parts.progress(this.received);
    this.#ring.complete();
  }

  [Symbol.dispose](): void {
    clearTimeout(this.#report);
  }
}
