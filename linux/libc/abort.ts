import { setTimeout as sleep } from 'node:timers/promises';
import { CrispError } from '#core/errors.ts';

/** The error of work that was abandoned: the signal's own where it is crisp's, which names stage and limit. */
export function abandoned(what: string, signal: AbortSignal): CrispError {
  if (signal.reason instanceof CrispError) return signal.reason;
  return new CrispError('Cancelled', `${what}: given up by the caller`, { cause: signal.reason });
}

/** Throws that error where the signal is aborted. */
export function throwIfAborted(signal: AbortSignal, what: string): void {
  if (signal.aborted) throw abandoned(what, signal);
}

/** The step's result, or, when so many ms have passed before, the error of `late`; the step itself continues. */
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

/** The result of shared work: the abort ends this wait, and not the work. */
export async function joined<T>(work: Promise<T>, what: string, signal: AbortSignal): Promise<T> {
  throwIfAborted(signal, what);
  const { promise, reject } = Promise.withResolvers<never>();
  const give = () => reject(abandoned(what, signal));
  signal.addEventListener('abort', give, { once: true });
  try {
    return await Promise.race([work, promise]);
  } finally {
    signal.removeEventListener('abort', give);
  }
}
