/**
 * The thread that talks to registries: HTTP, TLS, credentials, hashing, writing to the disk. It is niced: a pull must not
 * slow down the workloads of the node, nor the daemon's answers.
 */
import { setPriority } from 'node:os';
import { parentPort, workerData } from 'node:worker_threads';
import { serializeError } from '#core/errors.ts';
import { fromNode } from '#linux/libc/errno.ts';
import { threadLoaded } from '#linux/libc/worker-thread.ts';
import { EndpointHealth } from '../registry/endpoint-health.ts';
import type { Call, WorkerReply, WorkerRequest, WorkerStart } from './messages.ts';
import { Sessions } from './sessions.ts';

threadLoaded();

/** The least: it counts among the daemon's own threads; beside pods their cgroups' weights do. */
const NICE = 19;
const port = parentPort;
setPriority(NICE); // on Linux of the calling thread alone

const reply = (message: WorkerReply): void => port?.postMessage(message);
const { options, failed: known }: WorkerStart = workerData;
const health = new EndpointHealth({ known, changed: (failed) => reply({ kind: 'health', failed }) });
const sessions = new Sessions(options, health);
const running = new Map<number, AbortController>();

port?.on('message', (request: WorkerRequest) => {
  if (request.kind === 'open') sessions.open(request.session, request.reference, request.auth);
  else if (request.kind === 'close') sessions.close(request.session);
  else if (request.kind === 'call') void run(request.id, request.session, request.call);
  else if (request.kind === 'cancel') running.get(request.id)?.abort();
  else reply({ kind: 'pong' });
});

async function run(id: number, session: number, call: Call): Promise<void> {
  const controller = new AbortController();
  running.set(id, controller);
  const progress = (received: number) => reply({ kind: 'progress', id, received });
  try {
    reply({ kind: 'done', id, value: await sessions.perform(session, call, progress, controller.signal) });
  } catch (error) {
    reply({ kind: 'failed', id, failure: serializeError(fromNode(error, 'download')) });
  } finally {
    running.delete(id);
  }
}
