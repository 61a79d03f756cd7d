/** The thread that unpacks layers. It is niced: a pull must not slow down the workloads of the node. */
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import { niceThread } from '#linux/fs/at-syscalls.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { type Completion, completeLayer } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import { type UnpackRequest, unpackLayer } from './unpack-layer.ts';
import { type ImageRequest, type WrittenLayer, writeImage } from './write-image.ts';

export type Job =
  | { readonly kind: 'unpack'; readonly request: UnpackRequest }
  | {
      readonly kind: 'complete';
      readonly directory: string;
      readonly lower: readonly string[];
      readonly report: LayerReport;
    }
  | { readonly kind: 'image'; readonly request: ImageRequest };

export type WorkerRequest =
  | { readonly kind: 'run'; readonly job: Job }
  | { readonly kind: 'cancel' }
  /** The directories that a job needs; undefined: they are not to be waited for. */
  | { readonly kind: 'below'; readonly directories: readonly string[] | undefined };

export type JobResult = LayerReport | Completion | WrittenLayer;

export type WorkerReply =
  | { readonly ok: true; readonly value: JobResult }
  | { readonly ok: false; readonly failure: SerializedError }
  /** The job goes on when it gets the directories of the layers below. */
  | { readonly ok: undefined };

/** The least: it counts among the daemon's own threads; beside pods their cgroups' weights do. */
const NICE = 19;
const port = parentPort;
niceThread(NICE);

let running: AbortController | undefined;
let answer: ((directories: readonly string[] | undefined) => void) | undefined;
port?.on('message', (request: WorkerRequest) => {
  if (request.kind === 'cancel') running?.abort();
  else if (request.kind === 'below') answer?.(request.directories);
  else void run(request.job).then((reply) => port.postMessage(reply));
});

async function run(job: Job): Promise<WorkerReply> {
  running = new AbortController();
  try {
    if (job.kind === 'unpack') return { ok: true, value: await unpackLayer(job.request, running.signal) };
    if (job.kind === 'image')
      return { ok: true, value: await writeImage(job.request, below, running.signal) };
    const { directory, lower, report } = job;
    return { ok: true, value: await completeLayer(directory, lower, report, running.signal) };
  } catch (error) {
    return { ok: false, failure: serializeError(fromNode(error, 'unpack a layer')) };
  }
}

/** Asks for the layers below. Throws the signal's reason where the job is cancelled meanwhile. */
async function below(): Promise<readonly string[] | undefined> {
  const signal = running?.signal;
  const { promise, resolve, reject } = Promise.withResolvers<readonly string[] | undefined>();
  const cancel = () => reject(signal?.reason);
  answer = resolve;
  signal?.addEventListener('abort', cancel, { once: true });
  if (signal?.aborted) cancel();
  port?.postMessage({ ok: undefined } satisfies WorkerReply);
  try {
    return await promise;
  } finally {
    answer = undefined;
    signal?.removeEventListener('abort', cancel);
  }
}
