/**
 * What must be undone after a failed ADD. A part that was not started is not undone. One that reported an error (a plugin
 * that exited with one, iptables-restore, which writes all or nothing) is undone, and a failure of that undo is ignored:
 * a wrong configuration fails DEL as it failed ADD. One whose outcome is not known (killed, ended at a deadline) must be
 * undone in full.
 */
import { CrispError, hasCode } from '#core/errors.ts';
import type { AddProgress, Attachment } from './attachment.ts';

/** Records the progress of an ADD. */
export class AddTrace {
  readonly #begun = new Set<string>();
  readonly #refused = new Set<string>();

  get progress(): AddProgress {
    return { begun: [...this.#begun], refused: [...this.#refused] };
  }

  begin(part: string): void {
    this.#begun.add(part);
  }

  refuse(part: string): void {
    this.#refused.add(part);
  }
}

export const wasBegun = ({ failedAdd }: Attachment, part: string): boolean =>
  failedAdd === undefined || failedAdd.begun.includes(part);

/** Runs the undo of a part. `onTolerated` is called with a failure that is ignored. */
export async function undoPart<T>(
  { failedAdd }: Attachment,
  part: string,
  act: () => Promise<T>,
  onTolerated: (error: unknown) => void,
): Promise<void> {
  try {
    await act();
  } catch (error) {
    if (!failedAdd?.refused.includes(part) || hasCode(error, 'Cancelled')) throw error;
    onTolerated(error);
  }
}

/** One error for several: the first, with the others' messages; it is lasting where all are. */
export function combinedError(errors: readonly unknown[]): unknown {
  const [first, ...others] = errors;
  if (others.length === 0 || !(first instanceof CrispError)) return first;
  const lasting = errors.every((error) => error instanceof CrispError && error.lasting);
  const more = others.map((error) => (error instanceof Error ? error.message : String(error)));
  return new CrispError(first.code, [first.message, ...more].join('; '), {
    cause: first,
    hint: first.hint,
    lasting,
  });
}
