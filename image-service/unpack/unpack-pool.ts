import { CrispError } from '#core/errors.ts';
import type { RingMemory } from '../byte-ring.ts';
import type { Completion } from './complete.ts';
import type { Below, ThreadJob } from './running-job.ts';
import type { SentReport } from './sent-report.ts';
import type { UnpackRequest } from './unpack-layer.ts';
import { UnpackThread } from './unpack-thread.ts';
import type { Job, JobResult, WrittenImage } from './worker.ts';
import type { ImageRequest } from './write-image.ts';

export type { Below } from './running-job.ts';

/** A request that waits for a thread: the memory that its archive comes through is made when one begins. */
export type Queued<R extends { readonly archive: unknown }> = Omit<R, 'archive'> & {
  readonly archive: Archive;
};

/** A file, or what makes the memory of a stream. */
export type Archive = string | (() => RingMemory);

const nothingBelow: Below = () => Promise.resolve([]);

/** Bytes of memory of images that wait for layers below, beyond which no more layers are begun while one is written. */
const HELD = 512 << 20;

/** Workers that unpack layers: started on demand, terminated after an idle time. */
export class UnpackPool implements AsyncDisposable {
  readonly #limit: number;
  readonly #idleMs: number;
  readonly #held: number;
  /** In the order of the calls: of an image the lower layers come before those that may wait for them. */
  readonly #queue: ThreadJob[] = [];
  readonly #threads = new Map<UnpackThread, NodeJS.Timeout | undefined>();
  /** Those that are given up and have not ended. */
  readonly #stuck = new Set<UnpackThread>();
  #closed = false;

  /** `limit`: jobs at once, beside the images that wait; `held`: see `HELD`. */
  constructor(limit: number, idleMs: number, held = HELD) {
    this.#limit = limit;
    this.#idleMs = idleMs;
    this.#held = held;
  }

  /** A job comes soon: a thread, which takes a tenth of a second to start, is started for it unless one is idle. */
  prepare(): void {
    if (this.#closed || this.#queue.length > 0) return;
    const thread = this.#free();
    if (thread?.isIdle) this.#park(thread);
  }

  /** Threads that are in a system call that does not return: each has memory, and another one in its place. */
  get stuck(): number {
    return this.#stuck.size;
  }

  /**
   * Unpacks and verifies; see `unpackLayer`. After an abort it settles when the thread has ended its work, within ten seconds;
   * the caller deletes the directory. `started`: called when a thread begins.
   */
  async unpack(request: Queued<UnpackRequest>, signal: AbortSignal, started = () => {}): Promise<SentReport> {
    const job = (): Job => ({ kind: 'unpack', request: withArchive(request) });
    return whole((await this.#run(job, signal, { started })) as SentReport | undefined);
  }

  /**
   * Writes an EROFS image; see `writeImage`, also for the outcome without one. While it waits for the layers below, of which it
   * has been read to the end, it takes no other's place. `below` is aborted when the image no longer waits for it, and has
   * settled when this settles. Undefined: the image is lost, as its thread had to be ended because of another one.
   */
  async writeImage(
    request: Queued<ImageRequest>,
    below: Below,
    signal: AbortSignal,
    started = () => {},
  ): Promise<WrittenImage | undefined> {
    const job = (): Job => ({ kind: 'image', request: withArchive(request) });
    return (await this.#run(job, signal, { started, below })) as WrittenImage | undefined;
  }

  /** See `completeLayer`. */
  async complete(
    directory: string,
    lower: readonly string[],
    report: SentReport,
    signal: AbortSignal,
  ): Promise<Completion> {
    const job = (): Job => ({ kind: 'complete', directory, lower, report });
    return whole((await this.#run(job, signal)) as Completion | undefined);
  }

  /** Ends the threads; running and later jobs fail. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    for (const queued of [...this.#queue]) this.#dequeue(queued, closed());
    for (const timer of this.#threads.values()) clearTimeout(timer);
    await Promise.all([...this.#threads.keys()].map((thread) => thread.end()));
  }

  #run(
    job: () => Job,
    signal: AbortSignal,
    { started = () => {}, below = nothingBelow }: Partial<Pick<ThreadJob, 'started' | 'below'>> = {},
  ): Promise<JobResult | undefined> {
    const { promise, resolve, reject } = Promise.withResolvers<JobResult | undefined>();
    const queued: ThreadJob = { job, signal, started, below, resolve, reject };
    if (signal.aborted) reject(signal.reason);
    else if (this.#closed) reject(closed());
    else this.#queue.push(queued);
    signal.addEventListener('abort', () => this.#dequeue(queued, signal.reason), { once: true });
    this.#next();
    return promise;
  }

  #dequeue(queued: ThreadJob, reason: unknown): void {
    const at = this.#queue.indexOf(queued);
    if (at < 0) return;
    this.#queue.splice(at, 1);
    queued.reject(reason);
  }

  #next(): void {
    for (;;) {
      const thread = this.#queue.length > 0 && !this.#isFull() && this.#free();
      const queued = thread ? this.#queue.shift() : undefined;
      if (!thread || !queued) return;
      clearTimeout(this.#threads.get(thread));
      this.#threads.set(thread, undefined);
      thread.run(queued);
    }
  }

  /**
   * Whether enough images wait. What they wait for has begun before them, or waits itself; where it has not, since another image
   * brought it along, it is begun when nothing is written any more.
   */
  #isFull(): boolean {
    const threads = [...this.#threads.keys()];
    const held = threads.reduce((sum, thread) => sum + thread.held, 0);
    return held >= this.#held && threads.some(({ isBusy }) => isBusy);
  }

  /** One that holds no image of others, if there is. */
  #free(): UnpackThread | undefined {
    const free = [...this.#threads.keys()].filter(({ isBusy }) => !isBusy);
    const idle = free.find(({ isIdle }) => isIdle);
    if (idle || this.#threads.size >= this.#limit) return idle ?? free[0];
    const thread: UnpackThread = new UnpackThread(() => this.#changed(thread));
    this.#threads.set(thread, undefined);
    return thread;
  }

  #changed(thread: UnpackThread): void {
    if (thread.hasEnded) this.#threads.delete(thread);
    else if (thread.isIdle && !this.#closed) this.#park(thread);
    if (thread.isStuck) this.#stuck.add(thread);
    else this.#stuck.delete(thread);
    this.#next();
  }

  #park(thread: UnpackThread): void {
    const timer = setTimeout(() => {
      this.#threads.delete(thread);
      void thread.end();
    }, this.#idleMs);
    timer.unref();
    clearTimeout(this.#threads.get(thread));
    this.#threads.set(thread, timer);
  }
}

const withArchive = <R extends Queued<{ readonly archive: unknown }>>(request: R) => ({
  ...request,
  archive: typeof request.archive === 'string' ? request.archive : request.archive(),
});

/** The result of a job that cannot be done again as it is. */
function whole<T>(result: T | undefined): T {
  if (result !== undefined) return result;
  throw new CrispError('Unavailable', 'the thread of the layer had to be ended because of another layer', {
    hint: 'try again',
  });
}

const closed = (): CrispError =>
  new CrispError('Unavailable', 'the image service is closed', { hint: 'try again when crisp runs again' });
