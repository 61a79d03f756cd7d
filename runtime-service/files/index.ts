/** Files of running containers, in and out, as archives; nothing is executed in the container. */
import { CrispError, deserializeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import { WorkerThread } from '#linux/libc/worker-thread.ts';
import type { Context } from '../context.ts';
import type { FilesAnswer, FilesJob, FilesStep } from './worker.ts';

/** How long one step may take: longer than any disk needs, since a container may have mounted a file system that hangs. */
const STEP_MS = 60_000;
/** How long the thread has for its clean-up. */
const CLOSE_MS = 2000;

/**
 * A path of a running container as an archive, in pieces. Throws NotFound for an unknown container or a missing path,
 * FailedPrecondition for one that does not run, DeadlineExceeded where the container's file system does not answer.
 */
export async function* readFiles(
  context: Context,
  id: ContainerId,
  path: string,
  op: Operation,
): AsyncGenerator<Buffer> {
  await using thread = new FilesThread(jobOf(context, id, path, 'read'), op);
  for (;;) {
    const piece = await thread.ask({ step: 'next' });
    if (!piece) return;
    yield Buffer.from(piece.buffer, piece.byteOffset, piece.byteLength);
  }
}

/** Writes an archive with one top entry to a path of a running container; see `TreeWriter`. Throws as `readFiles`. */
export async function writeFiles(
  context: Context,
  id: ContainerId,
  path: string,
  archive: AsyncIterable<Buffer>,
  op: Operation,
): Promise<void> {
  await using thread = new FilesThread(jobOf(context, id, path, 'write'), op);
  await op.stage('write files', async () => {
    for await (const piece of archive) await thread.ask({ step: 'write', piece });
    await thread.ask({ step: 'end' });
  });
}

function jobOf(context: Context, id: ContainerId, path: string, act: FilesJob['act']): FilesJob {
  const record = context.containers.resolve(id);
  if (record.state !== 'running' || !record.process) {
    throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
      hint: 'start it first',
    });
  }
  const userNamespace = context.pods.get(record.sandboxId)?.userNamespace;
  return { act, path, process: record.process, userNamespace };
}

/** Sends the steps to the worker, one after another. */
class FilesThread implements AsyncDisposable {
  readonly #worker: WorkerThread;
  readonly #op: Operation;
  readonly #lost = Promise.withResolvers<never>();

  constructor(job: FilesJob, op: Operation) {
    this.#op = op;
    this.#worker = new WorkerThread(new URL('./worker.ts', import.meta.url), { workerData: job });
    const lose = (cause?: unknown) =>
      this.#lost.reject(new CrispError('Internal', `the thread of ${op.name} failed`, { cause }));
    this.#lost.promise.catch(() => {});
    this.#worker.once('error', lose).once('exit', () => lose());
  }

  async ask(step: FilesStep): Promise<Uint8Array | undefined> {
    const name = `${this.#op.name}: wait for the files of the container`;
    const answer = await withDeadline(name, STEP_MS, this.#op.signal, () => this.#exchange(step));
    if (answer.ok) return answer.piece;
    throw deserializeError(answer.failure);
  }

  #exchange(step: FilesStep): Promise<FilesAnswer> {
    const answered = new Promise<FilesAnswer>((resolve) => this.#worker.once('message', resolve));
    this.#worker.postMessage(step);
    return Promise.race([answered, this.#lost.promise]);
  }

  /** A thread that hangs in the container's file system cannot be ended before that replies: it is not waited for. */
  async [Symbol.asyncDispose](): Promise<void> {
    const { signal } = new AbortController();
    await withDeadline('close the files thread', CLOSE_MS, signal, () =>
      this.#exchange({ step: 'close' }),
    ).catch(() => {});
    void this.#worker.terminate();
    this.#worker.unref();
  }
}
