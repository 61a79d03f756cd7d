/**
 * Waiting for processes by pidfd: it becomes readable when the process ends, for children and others alike,
 * costs nothing meanwhile, and touches no other child of this process (never waitpid(-1), no SIGCHLD handler).
 */
import { closeSync } from 'node:fs';
import { abandoned, throwIfAborted } from '../libc/abort.ts';
import { check, errnoName } from '../libc/errno.ts';
import { kill, lastErrno, pidfdOpen, waitpid, whenReadable } from '../libc/libc.ts';
import type { ExitStatus, ProcessRef } from '../ports/kernel.ts';
import { isAlive, readStat } from './identity.ts';

const WNOHANG = 1;
const SIGKILL = 9;

export interface OwnedChild {
  readonly process: ProcessRef;
  readonly exited: Promise<ExitStatus>;
}

/** The status of an ended child, from that of waitpid(2). */
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
  // Not our child any more: it was reaped elsewhere, its code is lost.
  return errnoName(lastErrno()) === 'ECHILD' ? { code: 255, signal: undefined } : undefined;
}

/** Of a child that was just spawned. Where that cannot be read (no descriptor is free) it is killed and reaped. */
function identified(pid: number): { readonly pidfd: number; readonly startTime: string } {
  let pidfd = -1;
  try {
    pidfd = check(pidfdOpen(pid), `watch process ${pid}`);
    // A child that has ended already is still there as long as it is not reaped.
    return { pidfd, startTime: readStat(pid)?.startTime ?? '' };
  } catch (error) {
    if (pidfd >= 0) closeSync(pidfd);
    endAndReap(pid);
    throw error;
  }
}

function endAndReap(pid: number): void {
  kill(pid, SIGKILL);
  waitpid(pid, new Int32Array(1), 0);
}

/** The watches of one kernel. */
export class ProcessWatches implements Disposable {
  readonly bootId: string;
  readonly #background = new Set<() => void>();
  readonly #all = new Set<() => void>();
  readonly #onExit = (): void => this.#stop(this.#all);

  constructor(bootId: string) {
    this.bootId = bootId;
    // A watch that fires during Node's own shutdown would abort the daemon.
    process.on('exit', this.#onExit);
  }

  /**
   * Takes ownership of a child that was just spawned: reads its identity and reaps it. One in the background does not keep
   * the event loop alive.
   */
  adopt(pid: number, background: boolean): OwnedChild {
    const { promise, resolve } = Promise.withResolvers<ExitStatus>();
    const { pidfd, startTime } = identified(pid);
    let stop = (): void => {};
    try {
      stop = this.#watch(pidfd, background, () => {
        const status = reap(pid);
        if (!status) return;
        stop();
        resolve(status);
      });
    } catch (error) {
      endAndReap(pid);
      throw error;
    }
    return { process: { pid, startTime, bootId: this.bootId }, exited: promise };
  }

  /** Resolves when the process has ended (at once where it has), rejects at the abort. */
  async untilGone(process: ProcessRef, signal: AbortSignal): Promise<void> {
    const what = `watch process ${process.pid}`;
    throwIfAborted(signal, what);
    const pidfd = pidfdOpen(process.pid);
    if (pidfd < 0) {
      if (errnoName(lastErrno()) === 'ESRCH') return;
      check(pidfd, what);
    }
    // Checked after the open: from then on the pidfd refers to the one process, even if its pid is reused.
    let alive = false;
    try {
      alive = isAlive(process, this.bootId);
    } finally {
      if (!alive) closeSync(pidfd);
    }
    if (!alive) return;
    const { promise, resolve, reject } = Promise.withResolvers<void>();
    const onAbort = () => reject(abandoned(what, signal));
    signal.addEventListener('abort', onAbort, { once: true });
    const stop = this.#watch(pidfd, false, resolve);
    try {
      await promise;
    } finally {
      signal.removeEventListener('abort', onAbort);
      stop();
    }
  }

  /** Owns the pidfd from now on. */
  #watch(pidfd: number, background: boolean, ready: () => void): () => void {
    let end: () => void;
    try {
      end = whenReadable(pidfd, !background, ready);
    } catch (error) {
      closeSync(pidfd);
      throw error;
    }
    const stop = () => {
      if (!this.#all.delete(stop)) return;
      this.#background.delete(stop);
      end();
      closeSync(pidfd);
    };
    this.#all.add(stop);
    if (background) this.#background.add(stop);
    return stop;
  }

  #stop(watches: Set<() => void>): void {
    for (const stop of [...watches]) stop();
  }

  /** Ends the watches in the background; children with a waiter are still reaped. */
  [Symbol.dispose](): void {
    this.#stop(this.#background);
    if (this.#all.size === 0) process.off('exit', this.#onExit);
  }
}
