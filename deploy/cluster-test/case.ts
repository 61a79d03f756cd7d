/**
 * What a case is. A case is a function with a name, in files of `cases/`; `trial.ts` gives it the node, pods and waits,
 * `run.ts` runs it, `report/` shows how it ended.
 *
 *     returns          passed
 *     throws Skip      skipped: this cluster cannot have what the case tests, for the reason given
 *     throws anything  failed: with the message as the reason, and the events of the case's pods
 */
import type { Need } from './needs.ts';
import type { Trial } from './trial.ts';

export interface Case {
  /** `area/what`, unique; `--only` takes either the area or the whole name. The names are stable: reports are compared by them. */
  readonly name: string;
  /** One line for the reader of a report: what must be so. */
  readonly about: string;
  /** Checked before anything is created; the first one that is not met is the reason of the skip. */
  readonly needs?: readonly Need[];
  run(trial: Trial): Promise<void>;
}

/** Ends a case without a verdict on the node. The message completes "skipped: ". */
export class Skip extends Error {
  override readonly name = 'Skip';
}

export type Outcome = 'passed' | 'failed' | 'skipped';

export interface Verdict {
  readonly name: string;
  readonly about: string;
  readonly outcome: Outcome;
  /** Of the run, waits included. 0 for a case that was not begun. */
  readonly milliseconds: number;
  /** Why it failed or was skipped; absent where it passed. */
  readonly reason?: string;
  /** Of a failed case: the events of its objects and of the node, oldest first, one line each. */
  readonly events?: readonly string[];
}
