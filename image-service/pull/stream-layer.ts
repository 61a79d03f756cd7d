import { CrispError } from '#core/errors.ts';
import { clearRing, type RingMemory, ringMemory, waitedMs } from '../byte-ring.ts';
import type { Descriptor } from '../image/manifest.ts';
import type { ImageServiceOptions } from '../options.ts';
import type { ContentStore } from '../store/content-store.ts';
import type { Archive } from '../unpack/unpack-pool.ts';
import type { Unpacking } from './activity.ts';
import type { Progress } from './deadline-to-end.ts';
import type { BlobSource, Blobs } from './fetch-blobs.ts';

/**
 * What takes an archive, a file or a stream, in a thread. `started`: called when it has one; `read`: where it goes on with what it
 * has read, so that the window is free for another stream.
 */
export type Take<T> = (
  archive: Archive,
  signal: AbortSignal,
  started: () => void,
  read: () => void,
) => Promise<T>;

/** Windows that are kept for the next stream. */
const KEPT = 2;

/**
 * Streams the blobs of layers from the thread that downloads to the threads that unpack. A transfer begins when there is a
 * thread that takes it, so what waits holds neither a connection nor a window of memory.
 */
export class LayerStreams {
  readonly #keepBlobs: boolean;
  readonly #content: ContentStore;
  readonly #blobs: Blobs;
  readonly #free: RingMemory[] = [];

  constructor(options: Pick<ImageServiceOptions, 'keepBlobs'>, content: ContentStore, blobs: Blobs) {
    this.#keepBlobs = options.keepBlobs;
    this.#content = content;
    this.#blobs = blobs;
  }

  /**
   * Takes the blob from the store or its file, where there is one, else from its source as it arrives. Rejects when both threads have
   * ended their work for it, with the error of the one that has failed first. Bytes that arrive are progress.
   */
  async take<T>(
    from: BlobSource,
    blob: Descriptor & { readonly file: string | undefined },
    take: Take<T>,
    { unpacking, progress }: { readonly unpacking: Unpacking; readonly progress: Progress },
    signal: AbortSignal,
  ): Promise<T> {
    const file = this.#content.has(blob.digest) ? this.#content.path(blob.digest) : blob.file;
    if (file !== undefined)
      return take(
        file,
        signal,
        () => unpacking.start(),
        () => {},
      );
    await using kept = this.#keepBlobs ? await this.#content.ingest(blob) : undefined;
    let memory: RingMemory | undefined;
    const to = (): RingMemory => {
      memory ??= this.#free.pop() ?? ringMemory();
      return memory;
    };
    const stop = new AbortController();
    const both = AbortSignal.any([signal, stop.signal]);
    const started = Promise.withResolvers<void>();
    const start = (): void => {
      unpacking.start();
      started.resolve();
    };
    const free = (): void => {
      if (memory === undefined) return;
      unpacking.waited(waitedMs(memory));
      this.#keep(memory);
      memory = undefined;
    };
    const taking = take(to, both, start, () => void sending.then(free, () => {}));
    const transfer = async (): Promise<void> => {
      await Promise.race([started.promise, taking]);
      using _permit = await this.#blobs.permit(both);
      const send = () => from.source.stream(blob, { to: to(), path: kept?.path }, progress.progressed, both);
      await from.op.stage('fetch', send, blob.digest);
    };
    const sending = transfer();
    try {
      const [taken] = await Promise.all([taking, sending]);
      signal.throwIfAborted();
      await kept?.commit();
      free();
      return taken;
    } catch (error) {
      stop.abort(new CrispError('Cancelled', 'the other half of the layer failed', { cause: error }));
      // What one of them still writes must not be the next one's.
      await Promise.allSettled([taking, sending]);
      throw error;
    }
  }

  #keep(memory: RingMemory): void {
    if (this.#free.length >= KEPT) return;
    clearRing(memory);
    this.#free.push(memory);
  }
}
