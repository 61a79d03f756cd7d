import { CrispError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';

/** The maximum of setTimeout; it takes a longer wait for 1 ms. */
const MAX_TIMER_MS = 2 ** 31 - 1;

/**
 * `withDeadline` for a step that works on files which the caller deletes after an error: where the limit or `parent` ends
 * it, the error is thrown only when the step itself has settled. The step must settle soon after its signal's abort.
 */
export async function deadlineToEnd<T>(
  name: string,
  limitMs: number,
  parent: AbortSignal,
  step: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  let running: Promise<T> | undefined;
  const start = (signal: AbortSignal): Promise<T> => {
    running = step(signal);
    return running;
  };
  try {
    return await withDeadline(name, limitMs, parent, start);
  } catch (error) {
    await running?.catch(() => {});
    throw error;
  }
}

/** What a step tells of its course. */
export interface Progress {
  progressed(): void;
  /** Waits for what has limits of its own. */
  waiting<T>(wait: Promise<T>): Promise<T>;
}

/**
 * The same for a step that depends on a transfer of any length, which has limits of its own: the limit is that of a time
 * without progress.
 */
export async function deadlineOfProgress<T>(
  name: string,
  limitMs: number,
  parent: AbortSignal,
  step: (signal: AbortSignal, progress: Progress) => Promise<T>,
): Promise<T> {
  parent.throwIfAborted();
  const late = new AbortController();
  const seconds = (limitMs / 1000).toFixed(1);
  const end = () =>
    late.abort(new CrispError('DeadlineExceeded', `${name}: no progress and no end for ${seconds} s`));
  let over = false;
  let timer: NodeJS.Timeout | undefined;
  const start = (): void => {
    if (!over) timer = setTimeout(end, Math.min(limitMs, MAX_TIMER_MS));
  };
  start();
  const progress: Progress = {
    progressed: () => timer?.refresh(),
    async waiting(wait) {
      clearTimeout(timer);
      timer = undefined;
      try {
        return await wait;
      } finally {
        start();
      }
    },
  };
  try {
    return await step(AbortSignal.any([parent, late.signal]), progress);
  } catch (error) {
    throw late.signal.aborted && !parent.aborted ? late.signal.reason : error;
  } finally {
    over = true;
    clearTimeout(timer);
  }
}
