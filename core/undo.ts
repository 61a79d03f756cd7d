/**
 * Effects outside crisp's records (a mount, a network attachment, a cgroup, a process) are written down before they
 * are made: the intent. One list of intents in a record serves three uses of the same code: the rollback of a failed
 * creation, an orderly stop, and the recovery after a crash.
 *
 * An undo is idempotent: an intent whose effect was never made, or is undone already, is undone with success.
 */
import { CrispError } from './errors.ts';
import type { Operation } from './operation.ts';

/** One recorded intent; `kind` chooses its undo, the rest identifies what to undo. Must survive JSON. */
export interface Intent {
  readonly kind: string;
}

export type UndoTable<I extends Intent> = {
  readonly [K in I['kind']]: (intent: Extract<I, { kind: K }>, op: Operation) => Promise<void>;
};

export interface UndoOutcome<I> {
  /** What could not be undone, in the order of the record; empty when all is undone. */
  readonly left: readonly I[];
  readonly errors: readonly { intent: I; error: unknown }[];
}

/** Failed undos of one object after which even a transient failure is given up. */
export const UNDO_TRIES = 3;

/**
 * Whether an undo that has failed so often is given up: it goes to the list of leaks (`leaks.ts`), and callers
 * that wait for the object's end wait no longer. A lasting failure is given up at once; a cancelled undo, never.
 */
export function isGivenUp(error: unknown, tries: number): boolean {
  if (!(error instanceof CrispError)) return tries >= UNDO_TRIES;
  if (error.code === 'Cancelled') return false;
  return error.lasting || error.code === 'NotFound' || tries >= UNDO_TRIES;
}

/** Undoes in reverse order, continues after failures, and returns what is left. Never throws. */
export async function undoAll<I extends Intent>(
  intents: readonly I[],
  table: UndoTable<I>,
  op: Operation,
): Promise<UndoOutcome<I>> {
  const left: I[] = [];
  const errors: { intent: I; error: unknown }[] = [];
  for (const intent of intents.toReversed()) {
    try {
      const undo = table[intent.kind as I['kind']] as (intent: I, op: Operation) => Promise<void>;
      await op.stage(`undo ${intent.kind}`, () => undo(intent, op));
    } catch (error) {
      left.unshift(intent);
      errors.push({ intent, error });
    }
  }
  return { left, errors };
}
