import { closeSync, readFileSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { WorkerThread } from '../libc/worker-thread.ts';
import type { WorkerReady, WorkerReply, WorkerRequest } from './worker.ts';

/** One thread of worker.ts: takes one request at a time. */
export class KernelWorker {
  readonly #worker: WorkerThread;
  /** Rejects where the thread is lost before it could begin. */
  readonly ready: Promise<WorkerReady>;
  /** False once it has ended, or is abandoned: then it takes no more requests. */
  isUsable = true;
  #task: number | undefined;
  #settle: ((reply: WorkerReply) => void) | undefined;
  #fail: ((error: unknown) => void) | undefined;

  constructor() {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerReady>();
    this.ready = promise;
    promise.catch(() => {});
    this.#worker = new WorkerThread(new URL('./worker.ts', import.meta.url), {
      // Descriptors made in the thread are handed to the main one: they must not be closed with it.
      trackUnmanagedFds: false,
      resourceLimits: { maxOldGenerationSizeMb: 32, maxYoungGenerationSizeMb: 2 },
    });
    const lost = (cause?: unknown) => {
      const error = new CrispError('Unavailable', 'the namespace thread was lost', { cause });
      reject(error);
      this.#fail?.(error);
    };
    this.#worker.on('error', lost);
    this.#worker.once('exit', () => {
      this.isUsable = false;
      lost();
      // One that never reported itself ready has opened nothing, or a few descriptors that are lost with it.
      void promise.then(({ descriptors }) => descriptors.forEach(closeDescriptor)).catch(() => {});
    });
    this.#worker.once('message', (first: WorkerReady) => {
      this.#task = first.task;
      this.#worker.on('message', (reply: WorkerReply) => this.#settle?.(reply));
      resolve(first);
    });
    this.#worker.unref();
  }

  /** The reply, however late; rejects with Unavailable where the thread ends instead. */
  request(request: WorkerRequest): Promise<WorkerReply> {
    const { promise, resolve, reject } = Promise.withResolvers<WorkerReply>();
    this.#settle = resolve;
    this.#fail = reject;
    this.#worker.postMessage(request);
    return promise;
  }

  /** Whether it keeps the process alive. */
  hold(on: boolean): void {
    if (on) this.#worker.ref();
    else this.#worker.unref();
  }

  /** The kernel's function in which the thread waits (proc(5), wchan); empty where it is unknown. */
  get waitsIn(): string {
    try {
      return readFileSync(`/proc/self/task/${this.#task}/wchan`, 'latin1');
    } catch {
      return '';
    }
  }

  /** Where the kernel shows what the thread waits for. */
  get stackFile(): string {
    return `/proc/${process.pid}/task/${this.#task ?? 'TID'}/stack`;
  }

  /** Ends the thread; one that is inside of a system call ends with that. */
  async terminate(): Promise<void> {
    await this.#worker.terminate();
  }
}

function closeDescriptor(fd: number): void {
  try {
    closeSync(fd);
  } catch {
    // Closed already.
  }
}
