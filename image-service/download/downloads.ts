import { Worker } from 'node:worker_threads';
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
 * idle daemon has neither its heap nor its connections.
 */
export class Downloads implements AsyncDisposable {
  readonly #options: DownloadOptions;
  #thread: DownloadThread | undefined;
  /** What the workers have found out about endpoints. */
  #failed: FailedEndpoints = [];
  #idle: NodeJS.Timeout | undefined;
  /** Open sessions and running calls. */
  #users = 0;
  #sessions = 0;
  readonly #start: StartThread;

  /** `start`: starts the thread; another one in tests of its failure. */
  constructor(
    options: DownloadOptions,
    start: StartThread = (ended) => new DownloadThread(this.#startWorker(), ended),
  ) {
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
    this.#start = start;
  }

  /** A session for the repository of the reference, with the caller's credentials. Errors are those of its first call. */
  open(reference: Reference, auth: RegistryAuth | undefined): DownloadSession {
    const session = ++this.#sessions;
    return new DownloadSession(() => this.#use(), {
      open: (thread) => thread.post({ kind: 'open', session, reference, auth }),
      close: (thread) => thread.post({ kind: 'close', session }),
      call: (thread, call, progress, signal) => thread.call(session, call, progress, signal),
    });
  }

  async [Symbol.asyncDispose](): Promise<void> {
    clearTimeout(this.#idle);
    await this.#thread?.end();
  }

  /** The thread, started where there is none, for as long as the scope lasts. */
  #use(): Disposable & { readonly thread: DownloadThread } {
    clearTimeout(this.#idle);
    this.#users++;
    const ended = (thread: DownloadThread) => {
      if (this.#thread === thread) this.#thread = undefined;
    };
    this.#thread ??= this.#start(ended);
    return { thread: this.#thread, [Symbol.dispose]: () => this.#leave() };
  }

  #leave(): void {
    if (--this.#users > 0) return;
    this.#idle = setTimeout(() => {
      const thread = this.#thread;
      this.#thread = undefined;
      void thread?.end();
    }, this.#options.workerIdleMs);
    this.#idle.unref();
  }

  #startWorker(): Worker {
    const workerData: WorkerStart = { options: this.#options, failed: this.#failed };
    const limits = { resourceLimits: HEAP, trackUnmanagedFds: false };
    const worker = new Worker(new URL('./worker.ts', import.meta.url), { workerData, ...limits });
    return worker.on('message', (reply: WorkerReply) => {
      if (reply.kind === 'health') this.#failed = reply.failed;
    });
  }
}
