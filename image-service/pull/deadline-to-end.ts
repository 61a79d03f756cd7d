import { withDeadline } from '#core/operation.ts';

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
