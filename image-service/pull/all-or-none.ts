import { CrispError } from '#core/errors.ts';

/**
 * Runs all steps at once. If one fails the others are cancelled, and its error is thrown when all of them have settled:
 * each waits for the end of the work that it is the last to leave, so no file of it remains. `what` is one step's work, for the
 * reason of the others' cancellation: `layer of the image`.
 */
export async function allOrNone<T>(
  what: string,
  signal: AbortSignal,
  steps: readonly ((signal: AbortSignal) => Promise<T>)[],
): Promise<T[]> {
  const cancelling = new AbortController();
  const combined = AbortSignal.any([signal, cancelling.signal]);
  const running = steps.map((step) => step(combined));
  try {
    return await Promise.all(running);
  } catch (error) {
    cancelling.abort(new CrispError('Cancelled', `another ${what} failed`, { cause: error }));
    await Promise.allSettled(running);
    throw error;
  }
}
