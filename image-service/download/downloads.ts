import type { Worker } from 'node:worker_threads';
import { WorkerThread } from '#linux/libc/worker-thread.ts';
import type { Reference } from '../image/reference.ts';
import type { RegistryAuth } from '../registry/credentials.ts';
import type { FailedEndpoints } from '../registry/endpoint-health.ts';
import type { DownloadOptions, WorkerReply, WorkerStart } from './messages.ts';
import { DownloadSession } from './session.ts';
import { DownloadThread } from './thread.ts';

type StartThread = (ended: (thread: DownloadThread) => void) => DownloadThread;

/** The worker's heap, in MB. The bytes of blobs are outside of it, a megabyte for each transfer. */
const HEAP = { maxOldGenerationSizeMb: 128, maxYoungGenerationSizeMb: 4 };

/**
 * Access to registries, by a worker thread that starts with the first pull and ends when none has run for a while: an
 * idle daemon has neither its heap nor its connections. Each has the options that it was started with: sessions that were
 * opened before a change of them stay with the thread before.
 */
export class Downloads implements AsyncDisposable {
  #pool: Pool;
  readonly #retired = new Set<Pool>();
  #sessions = 0;
  /** What the workers have found out about endpoints. */
  readonly #known: Known = { failed: [] };
  readonly #start: StartThread | undefined;

  /** `start`: starts the thread; another one in tests of its failure. */
  constructor(options: DownloadOptions, start?: StartThread) {
    this.#start = start;
    this.#pool = new Pool(options, this.#known, start);
  }

  /** Sessions that are opened from now on have these options. */
  update(options: DownloadOptions): void {
    const before = this.#pool;
    this.#pool = new Pool(options, this.#known, this.#start);
    this.#retired.add(before);
    before.retire(() => this.#retired.delete(before));
  }

  /** A session for the repository of the reference, with the caller's credentials. Errors are those of its first call. */
  open(reference: Reference, auth: RegistryAuth | undefined): DownloadSession {
    const session = ++this.#sessions;
    const pool = this.#pool;
    return new DownloadSession(() => pool.use(), {
      open: (thread) => thread.post({ kind: 'open', session, reference, auth }),
      close: (thread) => thread.post({ kind: 'close', session }),
      call: (thread, call, progress, signal) => thread.call(session, call, progress, signal),
    });
  }

  /** Threads with calls that have not answered for a long time. */
  get mute(): number {
    return [this.#pool, ...this.#retired].filter(({ isMute }) => isMute).length;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all([this.#pool, ...this.#retired].map((pool) => pool[Symbol.asyncDispose]()));
  }
}

interface Known {
  failed: FailedEndpoints;
}

/** The thread for some options, while there are users. */
class Pool implements AsyncDisposable {
  readonly #options: DownloadOptions;
  readonly #known: Known;
  readonly #start: StartThread;
  #thread: DownloadThread | undefined;
  #idle: NodeJS.Timeout | undefined;
  /** Open sessions and running calls. */
  #users = 0;
  #whenUnused: (() => void) | undefined;

  constructor(options: DownloadOptions, known: Known, start: StartThread | undefined) {
    // Not all the options that it may be given: each one here crosses to the thread.
    const { registries, hostsDirectories, registriesConf, certificateDirectories } = options;
    const { authFiles, proxy, parallelDownloads } = options;
    const { noByteMs, connectMs, attempts, retryWaitMs, workerIdleMs } = options;
    const { nextEndpointMs, slowEndpointMs, minRate, minRateMs } = options;
    const limits = { noByteMs, connectMs, attempts, retryWaitMs, workerIdleMs };
    const failover = { nextEndpointMs, slowEndpointMs, minRate, minRateMs };
    const network = { certificateDirectories, proxy, parallelDownloads };
    const configured = { registries, hostsDirectories, registriesConf, authFiles };
    this.#options = { ...configured, ...network, ...limits, ...failover };
    this.#known = known;
    this.#start = start ?? ((ended) => new DownloadThread(this.#startWorker(), ended));
  }

  get isMute(): boolean {
    return this.#thread?.isMute === true;
  }

  /** The thread, started where there is none, for as long as the scope lasts. */
  use(): Disposable & { readonly thread: DownloadThread } {
    clearTimeout(this.#idle);
    this.#users++;
    const ended = (thread: DownloadThread) => {
      if (this.#thread === thread) this.#thread = undefined;
    };
    this.#thread ??= this.#start(ended);
    return { thread: this.#thread, [Symbol.dispose]: () => this.#leave() };
  }

  /** There are no new sessions: the thread ends with the last use of those that are open. */
  retire(unused: () => void): void {
    this.#whenUnused = unused;
    if (this.#users === 0) this.#endIdle();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#idle);
    await this.#thread?.end();
  }

  #leave(): void {
    if (--this.#users > 0) return;
    if (this.#whenUnused) this.#endIdle();
    else this.#idle = setTimeout(() => this.#endIdle(), this.#options.workerIdleMs).unref();
  }

  #endIdle(): void {
    clearTimeout(this.#idle);
    const thread = this.#thread;
    this.#thread = undefined;
    this.#whenUnused?.();
    void thread?.end();
  }

  #startWorker(): Worker {
    const workerData: WorkerStart = { options: this.#options, failed: this.#known.failed };
    const limits = { resourceLimits: HEAP, trackUnmanagedFds: false };
    const worker = new WorkerThread(new URL('./worker.ts', import.meta.url), { workerData, ...limits });
    return worker.on('message', (reply: WorkerReply) => {
      if (reply.kind === 'health') this.#known.failed = reply.failed;
    });
  }
}
