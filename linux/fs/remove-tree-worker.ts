/** The thread of one large deletion: answers with the errno's name, or nothing, and ends. */
import { parentPort, workerData } from 'node:worker_threads';
import { errnoOf } from '#core/errors.ts';
import { removeTreeSync } from './remove-tree.ts';

let failure = '';
try {
  removeTreeSync(String(workerData));
} catch (error) {
  failure = errnoOf(error) ?? String(error);
}
parentPort?.postMessage(failure);
