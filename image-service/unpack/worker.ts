/**
 * A thread that unpacks layers: one at a time, and beside it the images that wait for the layers below them. It is niced: a pull
 * must not slow down the workloads of the node.
 */
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import { niceThread } from '#linux/fs/at-syscalls.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { threadLoaded } from '#linux/libc/worker-thread.ts';
import { type Completion, completeLayer } from './complete.ts';
import { type ImageReport, imageReport, receivedReport, type SentReport, sentReport } from './sent-report.ts';
import { type UnpackRequest, unpackLayer } from './unpack-layer.ts';
import { type ImageRequest, type WrittenLayer, writeImage } from './write-image.ts';

threadLoaded();

export type Job =
  | { readonly kind: 'unpack'; readonly request: UnpackRequest }
  | {
      readonly kind: 'complete';
      readonly directory: string;
      readonly lower: readonly string[];
      readonly report: SentReport;
    }
  | { readonly kind: 'image'; readonly request: ImageRequest };

/** `id`: of the job. */
export type WorkerRequest = { readonly id: number } & (
  | { readonly kind: 'run'; readonly job: Job }
  | { readonly kind: 'cancel' }
  /** The directories of the layers below, which the job waits for. */
  | { readonly kind: 'below'; readonly directories: readonly string[] }
);

export type WrittenImage = Omit<WrittenLayer, 'report'> & { readonly report: ImageReport };
export type JobResult = SentReport | Completion | WrittenImage;

export type WorkerReply = { readonly id: number } & (
  | { readonly ok: true; readonly value: JobResult }
  | { readonly ok: false; readonly failure: SerializedError }
  /** The job goes on when it gets the directories of the layers below; until then it takes so many bytes of memory. */
  | { readonly ok: undefined; readonly held: number }
);

interface Running {
  readonly controller: AbortController;
  answer?: (directories: readonly string[]) => void;
}

/** The least: it counts among the daemon's own threads; beside pods their cgroups' weights do. */
const NICE = 19;
const port = parentPort;
niceThread(NICE);

const jobs = new Map<number, Running>();
port?.on('message', (request: WorkerRequest) => {
  if (request.kind === 'cancel') jobs.get(request.id)?.controller.abort();
  else if (request.kind === 'below') jobs.get(request.id)?.answer?.(request.directories);
  else void run(request.id, request.job);
});

async function run(id: number, job: Job): Promise<void> {
  const running: Running = { controller: new AbortController() };
  jobs.set(id, running);
  const reply = (what: { ok: true; value: JobResult } | { ok: false; failure: SerializedError }): void => {
    jobs.delete(id);
    port?.postMessage({ id, ...what } satisfies WorkerReply);
  };
  try {
    reply({ ok: true, value: await carryOut(id, job, running) });
  } catch (error) {
    reply({ ok: false, failure: serializeError(fromNode(error, 'unpack a layer')) });
  }
}

async function carryOut(id: number, job: Job, running: Running): Promise<JobResult> {
  const { signal } = running.controller;
  if (job.kind === 'unpack') return sentReport(await unpackLayer(job.request, signal));
  if (job.kind === 'complete')
    return completeLayer(job.directory, job.lower, receivedReport(job.report), signal);
  const written = await writeImage(job.request, (held) => below(id, running, held), signal);
  return { ...written, report: imageReport(written.report) };
}

/** Asks for the layers below. Throws the signal's reason where the job is cancelled meanwhile. */
async function below(id: number, running: Running, held: number): Promise<readonly string[]> {
  const { signal } = running.controller;
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[]>();
  const cancel = () => reject(signal.reason);
  running.answer = resolve;
  signal.addEventListener('abort', cancel, { once: true });
  if (signal.aborted) cancel();
  port?.postMessage({ id, ok: undefined, held } satisfies WorkerReply);
  try {
    return await promise;
  } finally {
    delete running.answer;
    signal.removeEventListener('abort', cancel);
  }
}
