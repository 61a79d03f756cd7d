/** Removes a sandbox: what it still lists is undone, its containers are removed, then its record and its name. */
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { tell } from './plugin-events.ts';
import { stopSandbox } from './stop.ts';

/** An unknown id is success. The rename of the record's directory is the committing step; it needs no free space. */
export async function removeSandbox(context: Context, id: SandboxId, op: Operation): Promise<void> {
  const record = context.sandboxes.get(id);
  if (!record) return;
  await stopSandbox(context, id, op);
  await op.deadline('remove containers', context.deadlines.containers, () =>
    context.containers.removeAll(id, op),
  );
  await op.stage('remove record', () => context.sandboxes.remove(id));
  tell(context, 'removed', record);
}
