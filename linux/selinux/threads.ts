/** The threads that relabel trees: started when they are needed, kept a little while, and few. */
import { Worker } from 'node:worker_threads';
import { CrispError, deserializeError } from '#core/errors.ts';
import { abandoned, joined, throwIfAborted } from '../libc/abort.ts';
import type { Selinux } from '../ports/selinux.ts';
import type { RelabelJob, RelabelMessage } from './worker.ts';

type Relabel = Selinux['relabel'];
type OnProgress = NonNullable<Parameters<Relabel>[3]>;

/** A file system that does not answer holds one for as long. */
const MOST = 4;
/** Containers of a pod come one after another: the next finds the thread of the one before. */
const KEEP_MS = 5_000;

export class RelabelThreads implements AsyncDisposable {
  readonly #idle: RelabelThread[] = [];
  readonly #busy = new Set<RelabelThread>();
  readonly #waiting: ((thread: RelabelThread) => void)[] = [];

  get busy(): number {
    return this.#busy.size;
  }

  /** See `Selinux.relabel`. Waits for a thread where all are busy. */
  run: Relabel = async (path, label, signal, onProgress = () => {}) => {
    const stop = new Int32Array(new SharedArrayBuffer(4));
    const what = `relabel ${path}`;
    throwIfAborted(signal, what);
    const onAbort = () => void Atomics.store(stop, 0, 1);
    signal.addEventListener('abort', onAbort, { once: true });
    try {
      const outcome = await joined(this.#walk({ path, label, stop }, signal, onProgress), what, signal);
      if (!outcome) throw abandoned(what, signal);
      return outcome;
    } finally {
      signal.removeEventListener('abort', onAbort);
    }
  };

  /** The thread is busy until it has ended the walk, also where its caller has left. */
  async #walk(job: RelabelJob, signal: AbortSignal, onProgress: OnProgress) {
    const thread = await this.#take(signal);
    try {
      return await thread.run(job, onProgress);
    } finally {
      this.#release(thread);
    }
  }

  #take(signal: AbortSignal): Promise<RelabelThread> {
    const kept = this.#idle.pop();
    if (kept) return Promise.resolve(this.#use(kept));
    if (this.#busy.size < MOST) return Promise.resolve(this.#use(new RelabelThread()));
    const { promise, resolve } = Promise.withResolvers<RelabelThread>();
    this.#waiting.push((thread) => (signal.aborted ? this.#release(thread) : resolve(thread)));
    return promise;
  }

  #use(thread: RelabelThread): RelabelThread {
    this.#busy.add(thread);
    thread.wake();
    return thread;
  }

  #release(thread: RelabelThread): void {
    this.#busy.delete(thread);
    const next = this.#waiting.shift();
    if (next) next(this.#use(thread.isUsable ? thread : new RelabelThread()));
    if (next || !thread.isUsable) return;
    this.#idle.push(thread);
    thread.rest(KEEP_MS, () => {
      const at = this.#idle.indexOf(thread);
      if (at >= 0) this.#idle.splice(at, 1);
    });
  }

  /** One that a file system holds is not waited for: it ends with the process. */
  async [Symbol.asyncDispose](): Promise<void> {
    const idle = this.#idle.splice(0);
    await Promise.all(idle.map((thread) => thread.terminate()));
    for (const thread of this.#busy) void thread.terminate();
  }
}

class RelabelThread {
  readonly #worker = new Worker(new URL('./worker.ts', import.meta.url), {
    resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 },
  });
  #take: (message: RelabelMessage) => void = () => {};
  #fail: (error: unknown) => void = () => {};
  #timer: NodeJS.Timeout | undefined;
  isUsable = true;

  constructor() {
    const lost = (cause?: unknown) => {
      this.isUsable = false;
      this.#fail(new CrispError('Unavailable', 'the thread that relabels was lost', { cause }));
    };
    this.#worker.on('message', (message: RelabelMessage) => this.#take(message));
    this.#worker.once('error', lost).once('exit', () => lost());
  }

  /** Undefined where the walk was stopped. */
  run(job: RelabelJob, onProgress: OnProgress) {
    const { promise, resolve, reject } = Promise.withResolvers<Awaited<ReturnType<Relabel>> | undefined>();
    this.#fail = reject;
    this.#take = (message) => {
      if ('progress' in message) onProgress(message.progress);
      else if ('error' in message) reject(deserializeError(message.error));
      else resolve(message.outcome);
    };
    this.#worker.postMessage(job);
    return promise;
  }

  wake(): void {
    clearTimeout(this.#timer);
    this.#worker.ref();
  }

  /** Ends after this time, and calls back, unless it is woken before. */
  rest(ms: number, onEnd: () => void): void {
    this.#worker.unref();
    this.#timer = setTimeout(() => {
      onEnd();
      void this.terminate();
    }, ms).unref();
  }

  async terminate(): Promise<void> {
    this.isUsable = false;
    clearTimeout(this.#timer);
    await this.#worker.terminate();
  }
}
