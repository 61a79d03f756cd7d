/** The thread that unpacks layers. It is niced: a pull must not slow down the workloads of the node. */
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import { niceThread } from '#linux/fs/at-syscalls.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { type Completion, completeLayer } from './complete.ts';
import type { LayerReport } from './layer-writer.ts';
import { type UnpackRequest, unpackLayer } from './unpack-layer.ts';

export type Job =
  | { readonly kind: 'unpack'; readonly request: UnpackRequest }
  | {
      readonly kind: 'complete';
      readonly directory: string;
      readonly lower: readonly string[];
      readonly report: LayerReport;
    };

export type WorkerRequest = { readonly kind: 'run'; readonly job: Job } | { readonly kind: 'cancel' };

export type WorkerReply =
  | { readonly ok: true; readonly value: LayerReport | Completion }
  | { readonly ok: false; readonly failure: SerializedError };

/** The least: it counts among the daemon's own threads; beside pods their cgroups' weights do. */
const NICE = 19;
const port = parentPort;
niceThread(NICE);

let running: AbortController | undefined;
port?.on('message', (request: WorkerRequest) => {
  if (request.kind === 'cancel') running?.abort();
  else void run(request.job).then((reply) => port.postMessage(reply));
});

async function run(job: Job): Promise<WorkerReply> {
  running = new AbortController();
  try {
    if (job.kind === 'unpack') return { ok: true, value: await unpackLayer(job.request, running.signal) };
    const { directory, lower, report } = job;
    return { ok: true, value: await completeLayer(directory, lower, report, running.signal) };
  } catch (error) {
    return { ok: false, failure: serializeError(fromNode(error, 'unpack a layer')) };
  }
}
