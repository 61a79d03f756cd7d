/** The thread of one large deletion: replies with the errno's name, or an empty text, and ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { errnoOf } from '#core/errors.ts';
import { threadLoaded } from '../libc/worker-thread.ts';
import { removeTreeSync } from './remove-tree.ts';

threadLoaded();

let failure = '';
try {
  removeTreeSync(String(workerData));
} catch (error) {
  failure = errnoOf(error) ?? String(error);
}
parentPort?.postMessage(failure);
