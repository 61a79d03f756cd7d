import type { Worker } from 'node:worker_threads';
import { CrispError, describeError, deserializeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import { WorkerThread } from '#linux/libc/worker-thread.ts';
import type { HashedFile, HashRequest } from './hash-file.ts';
import type { MeasuredTree } from './measure-tree.ts';
import { Pace } from './pace.ts';
import type { Job, WorkerReply, WorkerRequest } from './worker.ts';

/** How often the bytes so far are looked at, in ms. */
const TICK_MS = 250;
/** A disk that delivers nothing for this long has failed, in ms. Other reads go before these, so that it is long. */
const SILENT_MS = 15 * 60_000;
/** A cancelled thread that does not end its read within this time is abandoned, in ms. */
const CANCEL_MS = 5_000;

export interface ReadSettings {
  readonly bytesPerSecond: number;
  /** Called now and then with the bytes of this file so far. */
  readonly progress: (bytes: number) => void;
  readonly signal: AbortSignal;
}

/** A worker thread that reads one file or tree at a time. It is started by the first; the end of the scope ends it. */
export class CheckThread implements AsyncDisposable {
  #worker: Worker | undefined;

  /** Throws the errno of a read (`EIO`), the signal's reason, DeadlineExceeded where the disk is silent, Internal where the thread ends. */
  async hash(request: HashRequest, settings: ReadSettings): Promise<HashedFile> {
    return (await this.#run({ kind: 'hash', ...request }, settings)) as HashedFile;
  }

  /** The same of a tree; see `measureTree`. */
  async measure(path: string, settings: ReadSettings): Promise<MeasuredTree> {
    return (await this.#run({ kind: 'measure', path }, settings)) as MeasuredTree;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#worker?.terminate();
  }

  async #run(
    job: Job,
    { bytesPerSecond, progress, signal }: ReadSettings,
  ): Promise<HashedFile | MeasuredTree> {
    signal.throwIfAborted();
    const worker = this.#started();
    const pace = new Pace(bytesPerSecond);
    const { promise, resolve, reject } = Promise.withResolvers<WorkerReply>();
    const ended = (why: unknown) =>
      reject(new CrispError('Internal', `the thread that checks images failed: ${describeError(why)}`));
    const failed = (error: unknown) => ended(error);
    const exited = () => ended('it exited');
    const abandon = (reason: unknown) => {
      this.#worker = undefined;
      void worker.terminate().then(() => closeDescriptorsBelow(job.path));
      reject(reason);
    };
    let timer: NodeJS.Timeout | undefined;
    const cancel = () => {
      pace.cancel();
      timer = setTimeout(() => abandon(signal.reason), CANCEL_MS);
    };
    const watch = watchProgress(pace, progress, () => abandon(silent(job.path)));
    worker.once('message', resolve).once('error', failed).once('exit', exited);
    signal.addEventListener('abort', cancel, { once: true });
    worker.postMessage({ job, bytesPerSecond, shared: pace.shared } satisfies WorkerRequest);
    try {
      const reply = await promise;
      signal.throwIfAborted();
      if (!reply.ok) throw deserializeError(reply.failure);
      return reply.value;
    } finally {
      clearInterval(watch);
      clearTimeout(timer);
      signal.removeEventListener('abort', cancel);
      worker.off('message', resolve).off('error', failed).off('exit', exited);
    }
  }

  #started(): Worker {
    if (this.#worker) return this.#worker;
    const worker = new WorkerThread(new URL('./worker.ts', import.meta.url));
    const gone = () => {
      if (this.#worker === worker) this.#worker = undefined;
    };
    // Without a listener the error of an idle thread would end the daemon.
    worker.on('error', gone).on('exit', gone);
    this.#worker = worker;
    return worker;
  }
}

function watchProgress(pace: Pace, progress: (bytes: number) => void, isSilent: () => void): NodeJS.Timeout {
  let last = 0;
  let since = performance.now();
  return setInterval(() => {
    const { bytes } = pace;
    if (bytes !== last) {
      last = bytes;
      since = performance.now();
      progress(bytes);
    } else if (performance.now() - since > SILENT_MS) isSilent();
  }, TICK_MS);
}

const silent = (path: string): CrispError =>
  new CrispError(
    'DeadlineExceeded',
    `read ${path}: the disk has delivered nothing for ${SILENT_MS / 60_000} min`,
    {
      hint: 'see the kernel log: a disk may be failing; or check when the disk is less busy',
    },
  );
