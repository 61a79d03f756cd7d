import type { RingMemory } from '../byte-ring.ts';
import type { ExplainedPull } from '../registry/explain.ts';
import type { CurrentManifest, FetchedManifest } from '../registry/manifest-document.ts';
import type { Served, ServedBy } from '../registry/served.ts';
import type { Act, BlobIdentity, Call, Calls } from './messages.ts';
import type { DownloadThread } from './thread.ts';

interface Connection {
  open(thread: DownloadThread): void;
  close(thread: DownloadThread): void;
  call(
    thread: DownloadThread,
    call: Call,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<unknown>;
}

/**
 * What one pull asks of its registry. It may be used after its disposal, too: the transfer of a blob outlives the pull
 * that has started it where another pull waits for it.
 */
export class DownloadSession implements Disposable {
  readonly #use: () => Disposable & { readonly thread: DownloadThread };
  readonly #connection: Connection;
  readonly #held: Disposable;
  /** The thread in which the session is open. */
  #thread: DownloadThread | undefined;
  #calls = 0;
  #disposed = false;

  constructor(use: () => Disposable & { readonly thread: DownloadThread }, connection: Connection) {
    this.#use = use;
    this.#connection = connection;
    this.#held = use();
  }

  /** See `RegistryClient.manifest`. */
  async manifest(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<FetchedManifest>> {
    const { bytes, ...rest } = await this.#call('manifest', { tagOrDigest }, signal);
    return { ...rest, bytes: asBuffer(bytes) };
  }

  /** See `RegistryClient.current`. */
  current(tagOrDigest: string, signal: AbortSignal): Promise<ServedBy<CurrentManifest> | undefined> {
    return this.#call('current', { tagOrDigest }, signal);
  }

  /** The bytes of a small blob, whose size the caller has limited. Throws as `RegistryClient.blob`. */
  async bytes(blob: BlobIdentity, signal: AbortSignal): Promise<{ bytes: Buffer; served: Served }> {
    const { bytes, served } = await this.#call('bytes', { blob: identity(blob) }, signal);
    return { bytes: asBuffer(bytes), served };
  }

  /** How the registry would be asked. Throws FailedPrecondition where its configuration is faulty. */
  explain(ping: boolean, signal: AbortSignal): Promise<ExplainedPull> {
    return this.#call('explain', { ping }, signal);
  }

  /**
   * Writes a blob to an empty file and verifies it. `progress` gets its bytes so far, a few times a second. Throws as
   * `RegistryClient.blob`.
   */
  async file(
    blob: BlobIdentity,
    path: string,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Served> {
    return this.#call('file', { blob: identity(blob), path }, signal, progress);
  }

  /**
   * Sends a blob to the thread that reads from `to`, which gets its end only when it is verified; also to an empty file,
   * where `path` is given. `progress` gets its bytes so far. Throws as `RegistryClient.blob`.
   */
  async stream(
    blob: BlobIdentity,
    { to, path }: { readonly to: RingMemory; readonly path: string | undefined },
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<Served> {
    return this.#call('stream', { blob: identity(blob), to, path }, signal, progress);
  }

  [Symbol.dispose](): void {
    if (this.#disposed) return;
    this.#disposed = true;
    this.#closeUnlessUsed();
    this.#held[Symbol.dispose]();
  }

  async #call<A extends Act>(
    act: A,
    request: Calls[A]['request'],
    signal: AbortSignal,
    progress: (received: number) => void = () => {},
  ): Promise<Calls[A]['result']> {
    using used = this.#use();
    if (this.#thread !== used.thread) this.#connection.open(used.thread);
    this.#thread = used.thread;
    this.#calls++;
    try {
      const call = { act, ...request } as unknown as Call;
      return (await this.#connection.call(used.thread, call, progress, signal)) as Calls[A]['result'];
    } finally {
      this.#calls--;
      this.#closeUnlessUsed();
    }
  }

  #closeUnlessUsed(): void {
    if (!this.#disposed || this.#calls > 0 || !this.#thread) return;
    this.#connection.close(this.#thread);
    this.#thread = undefined;
  }
}

/** Descriptors have more than this, of unlimited size. */
const identity = ({ digest, size }: BlobIdentity): BlobIdentity => ({ digest, size });

/** A Buffer arrives from another thread as a Uint8Array. */
const asBuffer = (bytes: Uint8Array): Buffer => Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
