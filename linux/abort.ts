import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';

/** The error of work that was given up: the signal's own where it is crisp's, which names stage and limit. */
export function abandoned(what: string, signal: AbortSignal): CrispError {
  if (signal.reason instanceof CrispError) return signal.reason;
  return new CrispError('Cancelled', `${what}: given up by the caller`, { cause: signal.reason });
}

/** Throws that error where the signal is aborted. */
export function throwIfAborted(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw abandoned(what, signal);
}

/** The step's outcome, or, when so many ms have passed before, the error of `late`; the step itself goes on. */
export async function within<T>(limitMs: number, step: Promise<T>, late: () => CrispError): Promise<T> {
  const over = new AbortController();
  try {
    const timer = sleep(limitMs, undefined, { signal: over.signal }).then(() => {
      throw late();
    });
    timer.catch(() => {});
    return await Promise.race([step, timer]);
  } finally {
    over.abort();
  }
}
