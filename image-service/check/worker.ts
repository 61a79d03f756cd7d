/** The thread that reads what the records promise. It is niced and in the idle class of IO: it must not slow down anything. */
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import { idleDiskThread, niceThread } from '#linux/fs/at-syscalls.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { threadLoaded } from '#linux/libc/worker-thread.ts';
import { type HashedFile, type HashRequest, hashFile } from './hash-file.ts';
import { type MeasuredTree, measureTree } from './measure-tree.ts';
import { Pace } from './pace.ts';

threadLoaded();

export type Job =
  | ({ readonly kind: 'hash' } & HashRequest)
  | { readonly kind: 'measure'; readonly path: string };

export interface WorkerRequest {
  readonly job: Job;
  readonly bytesPerSecond: number;
  readonly shared: SharedArrayBuffer;
}

export type WorkerReply =
  | { readonly ok: true; readonly value: HashedFile | MeasuredTree }
  | { readonly ok: false; readonly failure: SerializedError };

const NICE = 19;
const port = parentPort;
niceThread(NICE);
idleDiskThread();

port?.on('message', ({ job, bytesPerSecond, shared }: WorkerRequest) => {
  port.postMessage(run(job, new Pace(bytesPerSecond, shared)));
});

function run(job: Job, pace: Pace): WorkerReply {
  try {
    return { ok: true, value: job.kind === 'hash' ? hashFile(job, pace) : measureTree(job.path, pace) };
  } catch (error) {
    return { ok: false, failure: serializeError(fromNode(error, `read ${job.path}`)) };
  }
}
