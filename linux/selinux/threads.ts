/** The threads that relabel trees: started when they are needed, kept a little while, and few. */
import { Worker } from 'node:worker_threads';
import { CrispError, deserializeError } from '#core/errors.ts';
import type { RelabelProgress, RelabelTree, Selinux } from '../ports/selinux.ts';
import type { Trouble } from '../ports/troubles.ts';
import { STUCK_HINT, Turns } from './turns.ts';
import type { RelabelJob, RelabelMessage } from './worker.ts';

type Outcome = Awaited<ReturnType<Selinux['relabel']>>;
type OnProgress = (progress: RelabelProgress) => void;

/** Containers of a pod come one after another: the next finds the thread of the one before. */
const KEEP_MS = 5_000;

export class RelabelThreads implements AsyncDisposable {
  readonly #turns: Turns;
  readonly #idle: RelabelThread[] = [];
  readonly #busy = new Set<RelabelThread>();

  /** `longMs`: see `Turns`. */
  constructor(longMs?: number) {
    this.#turns = new Turns(longMs);
  }

  get busy(): number {
    return this.#busy.size;
  }

  /** Walks that a file system holds after they were to end. */
  get trouble(): Trouble | undefined {
    const { stuck } = this.#turns;
    if (stuck === undefined) return undefined;
    const message = `the kernel does not return from ${stuck}`;
    return { reason: 'KernelCallStuck', message, hint: STUCK_HINT, podsFail: false };
  }

  /** Walks a tree in its turn. At the abort it rejects when the thread has ended the walk. */
  run(tree: RelabelTree, signal: AbortSignal, onProgress: OnProgress = () => {}): Promise<Outcome> {
    return this.#turns.run(`relabel ${tree.path}`, signal, async (end) => {
      const stop = new Int32Array(new SharedArrayBuffer(4));
      const onEnd = () => void Atomics.store(stop, 0, 1);
      if (end.aborted) onEnd();
      end.addEventListener('abort', onEnd, { once: true });
      const thread = this.#use(this.#idle.pop() ?? new RelabelThread(this.#forget));
      try {
        return await thread.run({ ...tree, stop }, onProgress);
      } finally {
        this.#release(thread);
      }
    });
  }

  #use(thread: RelabelThread): RelabelThread {
    this.#busy.add(thread);
    thread.wake();
    return thread;
  }

  #release(thread: RelabelThread): void {
    this.#busy.delete(thread);
    if (!thread.isUsable) return;
    this.#idle.push(thread);
    thread.rest(KEEP_MS);
  }

  readonly #forget = (thread: RelabelThread): void => {
    const at = this.#idle.indexOf(thread);
    if (at >= 0) this.#idle.splice(at, 1);
  };

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
  readonly #onEnd: (thread: RelabelThread) => void;
  isUsable = true;

  /** `onEnd`: it takes no walks any more, also where it was idle when it was lost. */
  constructor(onEnd: (thread: RelabelThread) => void) {
    this.#onEnd = onEnd;
    const lost = (cause?: unknown) => {
      this.isUsable = false;
      clearTimeout(this.#timer);
      onEnd(this);
      this.#fail(new CrispError('Unavailable', 'the thread that relabels was lost', { cause }));
    };
    this.#worker.on('message', (message: RelabelMessage) => this.#take(message));
    this.#worker.once('error', lost).once('exit', () => lost());
  }

  /** Undefined where the walk was stopped. */
  run(job: RelabelJob, onProgress: OnProgress) {
    const { promise, resolve, reject } = Promise.withResolvers<Outcome | undefined>();
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

  /** Ends after this time, unless it is woken before. */
  rest(ms: number): void {
    this.#worker.unref();
    this.#timer = setTimeout(() => {
      void this.terminate();
    }, ms).unref();
  }

  async terminate(): Promise<void> {
    this.isUsable = false;
    clearTimeout(this.#timer);
    this.#onEnd(this);
    await this.#worker.terminate();
  }
}
