/** StopPodSandbox in any state; the record stays until `remove.ts` removes it. */
import { CrispError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { type SandboxRecord, shortId, toNotReady } from '../sandbox.ts';
import { tell } from './plugin-events.ts';
import { undoOrLeak } from './undo-or-leak.ts';

/**
 * The not-ready state is recorded before anything is undone: a crash in between must not leave a sandbox that is listed
 * as ready without its network. An unknown id is success. Throws the error of a container or an undo; a retry continues
 * from there.
 */
export async function stopSandbox(context: Context, id: SandboxId, op: Operation): Promise<void> {
  const record = context.sandboxes.get(id);
  if (!record) return;
  context.watches.end(id);
  const ended = toNotReady(record, 'stopped', 'stopped on request');
  if (ended !== record) await op.stage('record', () => context.sandboxes.commitNotReady(ended));
  await op.deadline('containers', context.deadlines.containers, () => context.containers.stopAll(id, op));
  // While its network namespace is there. A retry of a stop that was not completed tells it again.
  if (ended !== record || ended.intents.length > 0) tell(context, 'stopped', ended);
  await undoIntents(context, ended, op);
}

/** Undoes what the record still lists, or gives it up, and records what is to be tried again. Throws if anything is. */
export async function undoIntents(context: Context, record: SandboxRecord, op: Operation): Promise<void> {
  if (record.intents.length === 0) return;
  const { record: undone, failure } = await undoOrLeak(context, record, record.intents, op);
  await op.stage('record end', () => context.sandboxes.commitNotReady(undone));
  if (!failure) return;
  const message = `sandbox ${shortId(record.id)} is stopped but not all is undone: ${failure.message}`;
  throw new CrispError(failure.code, message, { cause: failure.cause, hint: failure.hint });
}
