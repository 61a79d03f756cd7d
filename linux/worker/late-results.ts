/**
 * Undoes what a request has made after its caller gave up: descriptors are closed, processes killed and reaped, pins
 * removed. Links need no undo: they go with the pod's network namespace, which the caller has removed.
 */
import { closeSync } from 'node:fs';
import { unlink } from 'node:fs/promises';
import { join } from 'node:path';
import { errnoOf } from '#core/errors.ts';
import { kill, waitpid } from '../libc/libc.ts';
import { mounts } from '../mount/mounts.ts';
import type { SpawnedPause } from '../namespace/pause-spawn.ts';
import type { NamespaceSpawn } from './spawn-in-namespace.ts';
import type { WorkerRequest, WorkerResults } from './worker.ts';

const SIGKILL = 9;

export async function discardLateResult(
  request: WorkerRequest,
  value: WorkerResults[keyof WorkerResults],
): Promise<void> {
  if (request.act === 'make' && value) {
    const { pid, start, status } = value as SpawnedPause;
    closeSync(start);
    closeSync(status);
    endChild(pid);
    await unpin(request.settings.kinds.map((kind) => join(request.pins, kind)));
  } else if (request.act === 'adopt') {
    await unpin(request.pinned.map((kind) => join(request.pins, kind)));
  } else if (request.act === 'pin empty network') {
    await unpin([request.path]);
  } else if (request.act === 'connect') {
    closeSync(value as number);
  } else if (request.act === 'leave bridge' && value) {
    closeSync((value as { readonly socket: number }).socket);
  } else if (request.act === 'spawn in namespace') {
    const { pid, socket } = value as NamespaceSpawn;
    closeSync(socket);
    endChild(-pid);
  }
}

/** A negative number: the process group too. It is our child and was not reaped, so the number is not reused yet. */
function endChild(pid: number): void {
  kill(pid, SIGKILL);
  waitpid(Math.abs(pid), new Int32Array(1), 0);
}

async function unpin(paths: readonly string[]): Promise<void> {
  for (const path of paths) {
    await mounts.unmount(path);
    await unlink(path).catch((error: unknown) => {
      if (errnoOf(error) !== 'ENOENT') throw error;
    });
  }
}
