import { CrispError, describeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import { WorkerThread } from '#linux/libc/worker-thread.ts';
import { RunningJob, type ThreadJob } from './running-job.ts';
import type { Job, WorkerReply, WorkerRequest } from './worker.ts';

/** A worker thread. It carries out one job, and holds images of others that wait for the layers below them. */
export class UnpackThread {
  readonly #worker: WorkerThread;
  readonly #jobs = new Map<number, RunningJob>();
  readonly #changed: () => void;
  #ids = 0;
  #failure: unknown = 'it exited';
  /** Whether it gets no more jobs. */
  #ended = false;
  /** Whether that is because of one job, which did not end when it was cancelled. */
  #endedForOne = false;
  #hasExited = false;
  #isAbandoned = false;

  /** `changed`: called when it can take another job, or none any more. */
  constructor(changed: () => void) {
    this.#changed = changed;
    this.#worker = new WorkerThread(new URL('./worker.ts', import.meta.url));
    this.#worker
      .on('message', (reply: WorkerReply) => this.#jobs.get(reply.id)?.replied(reply))
      .on('error', (error) => {
        this.#failure = error; // the exit event follows
      })
      .on('exit', () => this.#exited());
    this.#worker.unref(); // until it has a job
  }

  get hasEnded(): boolean {
    return this.#ended;
  }

  /** Whether it has been given up, and is in a system call that does not return. */
  get isStuck(): boolean {
    return this.#isAbandoned && !this.#hasExited;
  }

  /** Whether a job is carried out that does not wait. */
  get isBusy(): boolean {
    return [...this.#jobs.values()].some(({ held }) => held === 0);
  }

  /** Whether it holds nothing either. */
  get isIdle(): boolean {
    return this.#jobs.size === 0;
  }

  /** Bytes of memory of the images that wait. */
  get held(): number {
    return [...this.#jobs.values()].reduce((sum, { held }) => sum + held, 0);
  }

  run(what: ThreadJob): void {
    const id = this.#ids++;
    const job = what.job();
    const running = new RunningJob(what, placeOf(job), {
      tell: (request) => this.#worker.postMessage({ id, ...request } satisfies WorkerRequest),
      terminate: () => {
        this.#endedForOne = true;
        void this.end();
      },
      abandon: () => this.#abandon(),
      changed: () => this.#changed(),
      over: () => {
        this.#jobs.delete(id);
        if (this.isIdle) this.#worker.unref();
        this.#changed();
      },
    });
    this.#jobs.set(id, running);
    this.#worker.ref();
    what.started();
    this.#worker.postMessage({ id, kind: 'run', job } satisfies WorkerRequest);
  }

  /** Terminates it; its jobs fail. */
  async end(): Promise<void> {
    this.#ended = true;
    await this.#worker.terminate();
  }

  #exited(): void {
    this.#hasExited = true;
    this.#ended = true;
    // It leaks descriptors, which keep the files that are to be deleted.
    for (const { place } of this.#jobs.values()) closeDescriptorsBelow(place);
    this.#abandon();
  }

  /** A thread in a system call that does not return (a dead network disk) does not end. */
  #abandon(): void {
    this.#ended = true;
    this.#isAbandoned = true;
    const error = this.#endedForOne ? undefined : workerDied(this.#failure);
    for (const job of [...this.#jobs.values()]) job.lost(error);
    this.#changed();
  }
}

/** Where the files of a job are. */
function placeOf(job: Job): string {
  if (job.kind === 'image') return job.request.image;
  return job.kind === 'unpack' ? job.request.directory : job.directory;
}

const workerDied = (why: unknown): CrispError =>
  new CrispError('Internal', `the unpack worker failed: ${describeError(why)}`);
