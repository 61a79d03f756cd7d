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
