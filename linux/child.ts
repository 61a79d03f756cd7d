/**
 * Waiting for processes by pidfd: it becomes readable when the process ends, for children and for strangers alike,
 * costs nothing meanwhile, and touches no other child of this process (never waitpid(-1), no SIGCHLD handler).
 */
import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { check, errnoName } from './errno.ts';
import { readStat } from './identity.ts';
import type { ExitStatus, ProcessRef } from './kernel.ts';
import { kill, lastErrno, pidfdOpen, waitpid, whenReadable } from './libc.ts';

const WNOHANG = 1;
const SIGKILL = 9;

export interface OwnedChild {
  readonly process: ProcessRef;
  readonly exited: Promise<ExitStatus>;
}

/** What waitpid(2) says about an ended child. */
export function decodeStatus(status: number): ExitStatus {
  const signal = status & 0x7f;
  return signal === 0 ? { code: (status >> 8) & 0xff, signal: undefined } : { code: 128 + signal, signal };
}

/** The status of a child that has ended, which is reaped by this; undefined while it lives. */
function reap(pid: number): ExitStatus | undefined {
  const status = new Int32Array(1);
  const result = waitpid(pid, status, WNOHANG);
  if (result === 0) return undefined;
  if (result === pid) return decodeStatus(status[0] ?? 0);
  // Not ours any more: somebody else has reaped it, its code is lost.
  return errnoName(lastErrno()) === 'ECHILD' ? { code: 255, signal: undefined } : undefined;
}

/** Takes charge of a child that was just spawned: reads its identity and reaps it. `ref`: keeps the event loop alive. */
export function adopt(pid: number, bootId: string, ref: boolean): OwnedChild {
  let pidfd: number;
  try {
    pidfd = check(pidfdOpen(pid), `watch process ${pid}`);
  } catch (error) {
    kill(pid, SIGKILL);
    waitpid(pid, new Int32Array(1), 0);
    throw error;
  }
  const { promise, resolve } = Promise.withResolvers<ExitStatus>();
  const stop = whenReadable(pidfd, ref, () => {
    const status = reap(pid);
    if (!status) return;
    stop();
    closeSync(pidfd);
    resolve(status);
  });
  // A child that has ended already is still there as long as it is not reaped.
  const startTime = readStat(pid)?.startTime ?? '';
  return { process: { pid, startTime, bootId }, exited: promise };
}

/** Resolves when the process has ended (at once where it has), rejects at the abort. Does not keep the loop alive. */
export async function untilGone(
  process: ProcessRef,
  alive: () => boolean,
  signal: AbortSignal,
): Promise<void> {
  signal.throwIfAborted();
  const pidfd = pidfdOpen(process.pid);
  if (pidfd < 0) {
    if (errnoName(lastErrno()) === 'ESRCH') return;
    check(pidfd, `watch process ${process.pid}`);
  }
  if (!alive()) return closeSync(pidfd); // checked after the open: the pidfd holds the pid from being recycled
  const { promise, resolve, reject } = Promise.withResolvers<void>();
  const onAbort = () =>
    reject(signal.reason ?? new CrispError('Cancelled', `the watch of process ${process.pid} was ended`));
  signal.addEventListener('abort', onAbort, { once: true });
  const stop = whenReadable(pidfd, false, resolve);
  try {
    await promise;
  } finally {
    signal.removeEventListener('abort', onAbort);
    stop();
    closeSync(pidfd);
  }
}
