import { readdir, rm } from 'node:fs/promises';
import { describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import { type UndoTable, undoAll } from '#core/undo.ts';
import type { ContainerIntent, ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { endMonitor } from '../monitor/end.ts';

/** How each effect of a container is undone; used by rollback, after an exit, by removal and by recovery. */
export function undoTable(context: Context, record: ContainerRecord): UndoTable<ContainerIntent> {
  const { kernel, options } = context;
  const paths = pathsOf(options, record.id);
  const within = (what: string, path: string, op: Operation, act: () => Promise<void>): Promise<void> =>
    op.deadline(what, options.timeouts.kill, act, path);
  return {
    // The container's own cgroup: monitors run in another one and live on to write the exit file.
    cgroup: async ({ path }, op) => {
      await op.deadline(
        'kill cgroup',
        options.timeouts.kill,
        (signal) => kernel.cgroups.kill(path, signal),
        path,
      );
      await op.deadline(
        'remove cgroup',
        options.timeouts.kill,
        (signal) => kernel.cgroups.remove(path, signal),
        path,
      );
    },
    runtime: async ({ handler }, op) => {
      await op.deadline(
        'kill cgroup',
        options.timeouts.kill,
        (signal) => kernel.cgroups.kill(record.cgroup.path, signal),
        record.cgroup.path,
      );
      await deleteFromRuntime(context, handler, record.id, op);
    },
    monitor: async ({ cgroup }, op) => {
      await op.deadline(
        'kill monitor',
        options.timeouts.kill,
        (signal) => endMonitor(context, record, cgroup, signal),
        cgroup,
      );
      await rm(paths.exitFile, { force: true });
    },
    rootfs: ({ target }, op) => within('unmount', target, op, () => context.rootfs.unmount(target)),
    'image-volume': ({ target }, op) => within('unmount', target, op, () => context.rootfs.unmount(target)),
    // Killed in the middle, the OCI runtime leaves the container frozen.
    checkpoint: async ({ path }, op) => {
      if (record.state === 'running') await context.handlers.get(record.handler).thaw(record.id, op);
      await within('delete', path, op, () => kernel.files.removeTree(path));
    },
    restore: ({ path }, op) => within('delete', path, op, () => kernel.files.removeTree(path)),
    bundle: ({ path }, op) => within('delete', path, op, () => kernel.files.removeTree(path)),
  };
}

/**
 * Has the OCI runtime delete the container. Where that fails (its handler or program is gone) and it has no state of the
 * container, as after a reboot, there is nothing to delete.
 */
async function deleteFromRuntime(
  { handlers, options }: Context,
  handler: string,
  id: ContainerId,
  op: Operation,
): Promise<void> {
  try {
    await handlers.get(handler).delete(id, op);
  } catch (error) {
    const state = await readdir(`${options.state}/oci/${handler}`).catch(() => []);
    if (state.some((name) => name.includes(id))) throw error;
  }
}

/** Undoes the record's intents, all of them or those that `only` selects. Returns what is left to be retried. */
export async function undoContainer(
  context: Context,
  record: ContainerRecord,
  op: Operation,
  only: (intent: ContainerIntent) => boolean = () => true,
): Promise<{ left: readonly ContainerIntent[]; errors: readonly unknown[] }> {
  const chosen = record.intents.filter(only);
  const kept = record.intents.filter((intent) => !only(intent));
  const { left, errors } = await undoAll(chosen, undoTable(context, record), op);
  if (errors.length > 0) {
    const failed = errors.map(({ intent, error }) => `${intent.kind}: ${describeError(error)}`);
    op.log.warn(
      { container: record.id, error: failed.join('; ') },
      'some effects of a container are not undone',
    );
  }
  return { left: [...kept, ...left], errors: errors.map(({ error }) => error) };
}

/** The effects of a running container that a created one does not have. */
export const ofProcess = (intent: ContainerIntent): boolean =>
  intent.kind === 'cgroup' || intent.kind === 'runtime' || intent.kind === 'monitor';

/** What a running container does not need: an unfinished checkpoint, and the one that it was restored from. */
export const ofCheckpoint = (intent: ContainerIntent): boolean =>
  intent.kind === 'checkpoint' || intent.kind === 'restore';
