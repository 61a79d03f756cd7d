import type { Worker } from 'node:worker_threads';
import { CrispError, describeError, deserializeError } from '#core/errors.ts';
import { closeDescriptorsBelow } from '#linux/fs/descriptors-below.ts';
import type { Call, WorkerReply, WorkerRequest } from './messages.ts';

/** A cancelled call that does not end within this time is left alone, in ms. */
const CANCEL_MS = 5_000;
/** After so many questions without any message, two minutes, that is reported. */
const QUIET = 4;
/** How often a thread with calls is asked whether it is alive, in ms. */
const PING_MS = 30_000;
/**
 * After so many questions without any message, five minutes, the thread is terminated. Silence alone does not tell a thread that
 * hangs from one that gets no CPU time: it is niced, and on a busy or emulated machine its mere start takes more than half a minute.
 * The end of the first kind may be late; that of the second would fail pulls because the node is busy. A caller that does not want
 * to wait cancels its call, which does not need the thread.
 */
const MUTE = 10;

interface Pending {
  readonly call: Call;
  readonly settle: (outcome: { readonly value: unknown } | { readonly error: unknown }) => void;
  readonly progress: (received: number) => void;
}

/** One worker thread and its calls. Its failure fails them all. */
export class DownloadThread {
  readonly #worker: Worker;
  readonly #pingMs: number;
  readonly #pending = new Map<number, Pending>();
  readonly #exited = Promise.withResolvers<void>();
  #calls = 0;
  #failure: unknown = 'it exited';
  #unanswered = 0;
  #watch: NodeJS.Timeout | undefined;

  /** `ended`: called when the thread is gone, for whatever reason. */
  constructor(worker: Worker, ended: (thread: DownloadThread) => void, pingMs = PING_MS) {
    this.#worker = worker;
    this.#pingMs = pingMs;
    this.#worker
      .on('message', (reply: WorkerReply) => this.#receive(reply))
      .on('error', (error) => {
        this.#failure = error; // the exit event follows
      })
      .on('exit', () => {
        ended(this);
        this.#exited.resolve();
        this.#failAll();
      });
    this.#worker.unref();
  }

  /** Whether it has calls, and has sent nothing for a long time: it hangs, or gets no CPU time. */
  get isMute(): boolean {
    return this.#watch !== undefined && this.#unanswered >= QUIET;
  }

  post(request: WorkerRequest): void {
    this.#worker.postMessage(request);
  }

  /** Rejects with the signal's reason at its abort, once the thread has stopped the call; Unavailable where it dies. */
  call(
    session: number,
    call: Call,
    progress: (received: number) => void,
    signal: AbortSignal,
  ): Promise<unknown> {
    if (signal.aborted) return Promise.reject(signal.reason);
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    const id = ++this.#calls;
    let giveUp: NodeJS.Timeout | undefined;
    const settle: Pending['settle'] = (outcome) => {
      clearTimeout(giveUp);
      signal.removeEventListener('abort', cancel);
      this.#pending.delete(id);
      this.#watchIfBusy();
      if (signal.aborted) reject(signal.reason);
      else if ('error' in outcome) reject(outcome.error);
      else resolve(outcome.value);
    };
    const cancel = () => {
      this.post({ kind: 'cancel', id });
      giveUp = setTimeout(() => settle({ error: signal.reason }), CANCEL_MS);
    };
    signal.addEventListener('abort', cancel, { once: true });
    this.#pending.set(id, { call, settle, progress });
    this.#watchIfBusy();
    this.post({ kind: 'call', id, session, call });
    return promise;
  }

  /** Terminates the thread; resolves when it is gone. */
  async end(): Promise<void> {
    void this.#worker.terminate();
    await this.#exited.promise;
  }

  #receive(reply: WorkerReply): void {
    this.#unanswered = 0;
    if (reply.kind === 'pong' || reply.kind === 'health') return;
    const pending = this.#pending.get(reply.id); // undefined where its caller has left
    if (reply.kind === 'progress') pending?.progress(reply.received);
    else if (reply.kind === 'done') pending?.settle({ value: reply.value });
    else pending?.settle({ error: deserializeError(reply.failure) });
  }

  /** While there are calls the thread keeps the process alive and is watched. */
  #watchIfBusy(): void {
    if (this.#pending.size === 0) {
      clearInterval(this.#watch);
      this.#watch = undefined;
      this.#worker.unref();
    } else if (this.#watch === undefined) {
      this.#unanswered = 0;
      this.#watch = setInterval(() => this.#ping(), this.#pingMs);
      this.#worker.ref();
    }
  }

  #ping(): void {
    if (this.#unanswered === MUTE) {
      this.#failure = `it has not answered for ${(MUTE * this.#pingMs) / 1000} s`;
      void this.#worker.terminate();
    } else {
      this.#unanswered++;
      this.post({ kind: 'ping' });
    }
  }

  #failAll(): void {
    const error = new CrispError(
      'Unavailable',
      `the download worker failed: ${describeError(this.#failure)}`,
      {
        hint: 'pull again: the next pull starts a new one',
      },
    );
    for (const { call, settle } of [...this.#pending.values()]) {
      if ((call.act === 'file' || call.act === 'stream') && call.path !== undefined)
        closeDescriptorsBelow(call.path);
      settle({ error });
    }
  }
}
