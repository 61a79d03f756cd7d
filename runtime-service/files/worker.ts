/**
 * The thread that reads or writes files of one container, one step for each message: a file system that the container
 * has mounted may block it for ever, so no other work runs on it.
 */

import { closeSync, constants, openSync } from 'node:fs';
import { parentPort, workerData } from 'node:worker_threads';
import { CrispError, type SerializedError, serializeError } from '#core/errors.ts';
import type { IdMapping } from '#core/model/security.ts';
import { TarReader } from '#core/tar/reader.ts';
import { flags } from '#linux/fs/at-syscalls.ts';
import { fromNode, namingSync } from '#linux/libc/errno.ts';
import { threadLoaded } from '#linux/libc/worker-thread.ts';
import type { ProcessRef } from '#linux/ports/kernel.ts';
import { isAlive, readBootId } from '#linux/process/identity.ts';
import { IdShift } from './id-shift.ts';
import { readTree } from './read-tree.ts';
import { TreeWriter } from './write-tree.ts';

threadLoaded();

export interface FilesJob {
  readonly act: 'read' | 'write';
  readonly process: ProcessRef;
  readonly path: string;
  readonly userNamespace:
    | { readonly uids: readonly IdMapping[]; readonly gids: readonly IdMapping[] }
    | undefined;
}

/** `next`: the next piece of a read. `write`: a piece of a write. `end`: its end. `close`: clean up, in any state. */
export type FilesStep =
  | { readonly step: 'next' | 'end' | 'close' }
  | { readonly step: 'write'; readonly piece: Uint8Array };

export type FilesAnswer =
  | { readonly ok: true; readonly piece: Uint8Array | undefined }
  | {
      readonly ok: false;
      readonly failure: SerializedError;
    };

/** Pieces are joined up to this size: a message costs more than a small file. */
const PORTION = 256 << 10;

const job = workerData as FilesJob;
const stack = new DisposableStack();
let reading: Generator<Buffer> | undefined;
let writing: TarReader | undefined;

/** The process's own root, mounts of the container included. */
function openRoot(): number {
  const { process } = job;
  const root = namingSync('open the root of the container', () =>
    openSync(`/proc/${process.pid}/root`, flags.O_PATH | constants.O_DIRECTORY),
  );
  stack.defer(() => closeSync(root));
  // Checked when the root is open: before, the pid may have become another process's, but not after.
  if (isAlive(process, readBootId())) return root;
  throw new CrispError('FailedPrecondition', 'the container has ended', { hint: 'start it again' });
}

function take(step: FilesStep): Uint8Array | undefined {
  const ids = new IdShift(job.userNamespace);
  if (step.step === 'close') {
    reading?.return(undefined);
    stack.dispose();
  } else if (job.act === 'read') {
    reading ??= readTree(openRoot(), job.path, ids);
    return portion(reading);
  } else {
    writing ??= new TarReader(stack.use(new TreeWriter(openRoot(), job.path, ids)));
    if (step.step === 'write') writing.write(Buffer.from(step.piece));
    else if (step.step === 'end') finish(writing);
  }
  return undefined;
}

function finish(reader: TarReader): void {
  reader.end();
  if (reader.ended) return;
  throw new CrispError('DataLoss', 'archive is truncated: the blocks that end it are missing', {
    hint: 'copy again; what was written before stays',
  });
}

function portion(pieces: Generator<Buffer>): Uint8Array | undefined {
  const joined: Buffer[] = [];
  for (let length = 0; length < PORTION; ) {
    const { value, done } = pieces.next();
    if (done) break;
    joined.push(value);
    length += value.length;
  }
  return joined.length > 0 ? Buffer.concat(joined) : undefined;
}

function answer(step: FilesStep): FilesAnswer {
  try {
    return { ok: true, piece: take(step) };
  } catch (thrown) {
    return { ok: false, failure: serializeError(fromNode(thrown, `${job.act} files of a container`)) };
  }
}

parentPort?.on('message', (step: FilesStep) => parentPort?.postMessage(answer(step)));
