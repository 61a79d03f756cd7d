/**
 * What an ADD that has failed owes. A part that was never begun is not undone; one that has refused in so many words (a
 * plugin that ended with an error, iptables-restore, which writes all or nothing) is undone as well as can be, and its
 * undo's failure counts no more: what cannot be made for a wrong configuration cannot be unmade with it either. One whose
 * outcome is not known (killed, cut off at a deadline) owes its undo in full.
 */
import { CrispError, hasCode } from '#core/errors.ts';
import type { AddProgress, Attachment } from './attachment.ts';

/** Writes down how far an ADD comes. */
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

/** Runs the undo of a part. `onTolerated` is called with a failure that does not count. */
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
export function firstOf(errors: readonly unknown[]): unknown {
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
