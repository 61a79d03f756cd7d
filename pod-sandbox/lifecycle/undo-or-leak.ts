/**
 * The outcome of each undo of a sandbox: it succeeds, or is tried again, or is given up and recorded as a leak, so that
 * every pod can be removed. The network's namespace stays pinned until the network is given up; what is not given up
 * itself is undone nevertheless.
 */
import { CrispError } from '#core/errors.ts';
import { type LeakOutcome, Leaks } from '#core/leaks.ts';
import type { Operation } from '#core/operation.ts';
import { isGivenUp, UNDO_TRIES, type UndoOutcome } from '#core/undo.ts';
import type { Context } from '../context.ts';
import { migrateRecord } from '../migrate.ts';
import {
  checkRecord,
  displayName,
  RECORD_VERSION,
  type SandboxIntent,
  type SandboxRecord,
  withIntents,
} from '../sandbox.ts';
import { type UndoContext, undoFailure, undoSandbox } from './undo.ts';

/** `record`: with the intents that are to be tried again. */
export interface Undone {
  readonly record: SandboxRecord;
  /** The error of the first that is to be tried again; undefined: nothing is left to undo. */
  readonly failure: CrispError | undefined;
}

/** Undoes the intents; what is given up is in the list of leaks when this resolves. Never throws. */
export async function undoOrLeak(
  context: Context,
  record: SandboxRecord,
  intents: readonly SandboxIntent[],
  op: Operation,
): Promise<Undone> {
  const { undoTries = 0, ...others } = record;
  const tries = undoTries + 1;
  const first = await undoSandbox(context, record, intents, op);
  const outcome = await undoPostponed(context, record, first, { tries, op });
  const lost = outcome.errors.filter(({ error }) => isGivenUp(error, tries));
  const leaked = outcome.left.filter((intent) => lost.some((failure) => failure.intent === intent));
  if (leaked.length > 0) {
    const name = displayName(record.config);
    await context.leaks.add({ id: record.id, name, tries, ...leakOf(record, leaked, lost) });
  }
  const again = outcome.left.filter((intent) => !leaked.includes(intent));
  if (again.length === 0) return { record: withIntents(others, []), failure: undefined };
  const kept = outcome.errors.filter((failure) => !lost.includes(failure));
  return { record: { ...withIntents(record, again), undoTries: tries }, failure: failureOf(kept, tries) };
}

/** What was postponed until the network is undone is undone once the network is given up. */
async function undoPostponed(
  context: Context,
  record: SandboxRecord,
  outcome: UndoOutcome<SandboxIntent>,
  { tries, op }: { tries: number; op: Operation },
): Promise<UndoOutcome<SandboxIntent>> {
  const network = outcome.errors.find(({ intent }) => intent.kind === 'network');
  if (!network || !isGivenUp(network.error, tries)) return outcome;
  const failed = new Set(outcome.errors.map(({ intent }) => intent));
  const held = outcome.left.filter((intent) => !failed.has(intent));
  const rest = await undoSandbox(context, record, held, op);
  return {
    left: outcome.left.filter((intent) => failed.has(intent) || rest.left.includes(intent)),
    errors: [...outcome.errors, ...rest.errors],
  };
}

type Failures = UndoOutcome<SandboxIntent>['errors'];

function failureOf(errors: Failures, tries: number): CrispError {
  const [first] = errors;
  const known = first?.error instanceof CrispError ? first.error : undefined;
  return new CrispError(
    known?.code ?? 'Internal',
    `${undoFailure(errors)} (try ${tries} of ${UNDO_TRIES}, then it is given up and listed as a leak)`,
    { cause: first?.error, ...(known ? { hint: known.hint } : {}) },
  );
}

const leakOf = (
  record: SandboxRecord,
  intents: readonly SandboxIntent[],
  errors: Failures,
): LeakOutcome<SandboxRecord> => ({
  kinds: intents.map(({ kind }) => kind),
  record: withIntents(record, intents),
  error: undoFailure(errors),
});

/** The list of leaks of sandboxes that are gone. */
export const sandboxLeaks = (
  context: () => UndoContext,
  { kernel, log, root }: Pick<Context, 'kernel' | 'log'> & { readonly root: string },
): Leaks<SandboxRecord> =>
  new Leaks<SandboxRecord>({
    object: 'sandbox',
    directory: `${root}/leaks/sandboxes`,
    files: kernel.files,
    log,
    migrate: (record) => (record.version === RECORD_VERSION ? record : migrateRecord(record)),
    check: checkRecord,
    undo: async (record, op) => {
      const { left, errors } = await undoSandbox(context(), record, record.intents, op);
      return left.length === 0 ? undefined : leakOf(record, left, errors);
    },
  });
