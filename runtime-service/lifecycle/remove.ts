import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';

/**
 * RemoveContainer, of a stopped container: frees its name; its effects are undone and its files deleted in the background
 * (`context.cleanups`). Its log stays: it is the kubelet's. An unknown id is success. To be called in the container's
 * turn.
 */
export async function removeContainer(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const record = context.containers.get(id);
  if (!record) return;
  await op.stage('mark removed', () => context.containers.markRemoved(record));
  context.cleanups.afterRemoval(record);
}
