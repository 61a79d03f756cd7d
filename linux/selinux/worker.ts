/** The thread that relabels trees, one after another: a volume with millions of files keeps it busy for minutes. */
import { parentPort } from 'node:worker_threads';
import { type SerializedError, serializeError } from '#core/errors.ts';
import type { RelabelOutcome, RelabelProgress, RelabelTree } from '../ports/selinux.ts';
import { relabelTree } from './walk.ts';

export interface RelabelJob extends RelabelTree {
  /** Shared: other than 0 ends the walk. */
  readonly stop: Int32Array;
}

export type RelabelMessage =
  | { readonly progress: RelabelProgress }
  | { readonly outcome: RelabelOutcome | undefined }
  | { readonly error: SerializedError };

/** Entries between two reports. */
const REPORT = 1000;

class Stopped extends Error {}

function relabel({ stop, ...tree }: RelabelJob): RelabelMessage {
  const step = (progress: RelabelProgress) => {
    if (Atomics.load(stop, 0) !== 0) throw new Stopped();
    if (progress.entries > 0 && progress.entries % REPORT === 0) parentPort?.postMessage({ progress });
  };
  try {
    return { outcome: relabelTree(tree, step) };
  } catch (error) {
    return error instanceof Stopped ? { outcome: undefined } : { error: serializeError(error) };
  }
}

parentPort?.on('message', (job: RelabelJob) => parentPort?.postMessage(relabel(job)));
