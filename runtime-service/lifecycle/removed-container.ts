/**
 * The clean-up of a container whose record is marked as removed: no client sees it any more. All its effects are undone
 * and its files deleted. What fails is entered into the list of leaks and is retried from there, independent of its pod.
 */
import { rm } from 'node:fs/promises';
import { type LeakOutcome, Leaks } from '#core/leaks.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import { checkRecord } from '../containers.ts';
import { type Context, pathsOf } from '../context.ts';
import { undoContainer } from './undo.ts';

/** A writable layer of millions of files on a slow disk. */
const DELETE_MS = 10 * 60_000;

type Outcome = LeakOutcome<ContainerRecord>;

/** Resolves when all is undone and deleted, or listed. Never throws. */
export async function cleanUpRemoved(
  context: Context,
  record: ContainerRecord,
  op: Operation,
): Promise<void> {
  const { leaks } = context;
  const { name } = record.metadata;
  const addLeak = (outcome: Outcome) => leaks.add({ id: record.id, name, tries: 1, ...outcome });
  // Listed before its files are deleted: only the record among them also knows what is left.
  const left = await undoAndDelete(context, record, op, addLeak);
  if (left?.kinds.includes(FILES)) await addLeak(left);
}

/** The kind of a leak whose files could not be deleted; the other kinds are those of intents. */
const FILES = 'files';

async function undoAndDelete(
  context: Context,
  record: ContainerRecord,
  op: Operation,
  onLeft: (outcome: Outcome) => Promise<void>,
): Promise<Outcome | undefined> {
  const { left, errors } = await undoContainer(context, record, op);
  const kinds: string[] = left.map(({ kind }) => kind);
  const outcome = { kinds, record: { ...record, intents: left }, error: errors[0] };
  if (left.length > 0) await onLeft(outcome);
  // The writable layer is below the mounted root.
  if (kinds.includes('rootfs')) return outcome;
  try {
    await rm(pathsOf(context.options, record.id).exitFile, { force: true });
    await op.deadline('delete', DELETE_MS, () => context.containers.purge(record.id));
  } catch (error) {
    return { ...outcome, kinds: [...kinds, FILES], error: outcome.error ?? error };
  }
  return left.length > 0 ? outcome : undefined;
}

/** The list of leaks of removed containers. `context` is read at each try. */
export const containerLeaks = (
  { kernel, log, options }: Pick<Context, 'kernel' | 'log' | 'options'>,
  context: () => Context,
): Leaks<ContainerRecord> =>
  new Leaks<ContainerRecord>({
    object: 'container',
    directory: `${options.root}/leaks/containers`,
    files: kernel.files,
    log,
    check: (record) => checkRecord(record, record.id),
    undo: (record, op) => undoAndDelete(context(), record, op, async () => {}),
  });
