import type { Operation } from '#core/operation.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import { Semaphore } from '../semaphore.ts';
import type { ContentStore } from '../store/content-store.ts';
import { SharedWork } from './shared-work.ts';
import type { ImageSource } from './source.ts';

/** Where blobs that are not in the store come from, for one pull. */
export interface BlobSource {
  readonly source: Pick<ImageSource, 'file' | 'stream'>;
  readonly op: Operation;
}

/** Gets blobs into the store, each once, however many pulls ask for it, and not too many at a time. */
export class Blobs {
  readonly #content: ContentStore;
  readonly #semaphore: Semaphore;
  readonly #running = new SharedWork<void>({ untilEnd: true });

  constructor(options: Pick<ImageServiceOptions, 'parallelDownloads'>, content: ContentStore) {
    this.#content = content;
    this.#semaphore = new Semaphore(options.parallelDownloads);
  }

  /** Nothing is done for a blob that is in the store. A failed or aborted transfer leaves nothing. */
  async fetch(from: BlobSource, blob: Descriptor, signal: AbortSignal): Promise<void> {
    if (this.#content.has(blob.digest)) return;
    const start = (shared: AbortSignal) =>
      from.op.stage('fetch', () => this.#transfer(from.source, blob, shared), blob.digest);
    await this.#running.runFromSource(blob.digest, signal, start);
  }

  /** Waits until a further blob may be transferred. */
  permit(signal: AbortSignal): Promise<Disposable> {
    return this.#semaphore.acquire(signal);
  }

  async #transfer(source: BlobSource['source'], blob: Descriptor, signal: AbortSignal): Promise<void> {
    using _permit = await this.permit(signal);
    await using ingest = await this.#content.ingest(blob);
    await source.file(blob, ingest.path, signal);
    signal.throwIfAborted();
    await ingest.commit();
  }
}
