/** Ends a sandbox in any state; the record stays until `remove.ts` takes it. */
import { CrispError, describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from './context.ts';
import { undoFailure, undoSandbox } from './intents.ts';
import { type SandboxRecord, shortId, toNotReady, withIntents } from './sandbox.ts';

/**
 * The end is recorded before anything is undone: a crash in between must not leave a sandbox that looks ready without
 * its network. An unknown id is success. Throws what kept a container or an effect from ending; a retry goes on there.
 */
export async function stopSandbox(context: Context, id: SandboxId, op: Operation): Promise<void> {
  const record = context.sandboxes.get(id);
  if (!record) return;
  context.watches.end(id);
  const ended = toNotReady(record, 'stopped', 'stopped on request');
  if (ended !== record) await op.stage('record', () => context.sandboxes.commitEnd(ended));
  await op.deadline('containers', context.deadlines.containers, () => context.containers.stopAll(id, op));
  await undoIntents(context, ended, op);
}

/** Undoes what the record still lists, and records what is left. Throws where something is. */
export async function undoIntents(context: Context, record: SandboxRecord, op: Operation): Promise<void> {
  if (record.intents.length === 0) return;
  const { left, errors } = await undoSandbox(context, record, record.intents, op);
  await op.stage('record end', () => context.sandboxes.commitEnd(withIntents(record, left)));
  const [first] = errors;
  if (!first) return;
  const code = first.error instanceof CrispError ? first.error.code : 'Internal';
  const hint = first.error instanceof CrispError ? { hint: first.error.hint } : {};
  const message = `sandbox ${shortId(record.id)} is stopped but not all is undone: ${undoFailure(errors)}`;
  op.log.warn({ sandbox: record.id, error: describeError(first.error) }, 'a sandbox is not undone in full');
  throw new CrispError(code, message, { cause: first.error, ...hint });
}
