/**
 * What a new daemon does with the records of the last one. For a healthy pod /proc and its pins are read; nothing is
 * executed or written. What was incomplete is undone by the table that run and stop use.
 */
import { describeError } from '#core/errors.ts';
import type { SandboxId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Context } from '../context.ts';
import { type SandboxRecord, toNotReady } from '../sandbox.ts';
import { tell } from './plugin-events.ts';
import { removeSandbox } from './remove.ts';
import { stopSandbox, undoIntents } from './stop.ts';
import { isPinned } from './undo.ts';
import { reapplyLimits } from './update.ts';

/** Sandboxes that are recovered at one time: each may run CNI plugins. */
const AT_ONCE = 4;

/** Synchronous and before any read, so that none returns a pod as ready that died while no daemon ran. */
export function reconcileStates({ sandboxes, watches, kernel, cni }: Context): void {
  const unfinished = sandboxes
    .list()
    .filter(({ state, intents }) => state.name !== 'ready' && intents.length > 0);
  cni.inherit(unfinished.map(({ id }) => id));
  for (const record of sandboxes.list()) {
    if (record.state.name !== 'ready') continue;
    const { process } = record;
    if (process && kernel.processes.alive(process)) watches.start(record.id, process);
    else sandboxes.publishNotReady(toNotReady(record, 'dead', deathOf(record, kernel.processes.bootId)));
  }
}

const deathOf = (record: SandboxRecord, bootId: string): string =>
  record.bootId === bootId ? 'the pause process ended while no daemon ran' : 'the node was restarted';

/** `exclusively` queues other verbs on the same sandbox. Never throws: each failure is logged. */
export async function recover(
  context: Context,
  exclusively: (id: SandboxId, act: () => Promise<void>) => Promise<void>,
  op: Operation,
): Promise<void> {
  const ids = context.sandboxes.list().map(({ id }) => id);
  const worker = async (): Promise<void> => {
    for (let id = ids.shift(); id !== undefined; id = ids.shift()) {
      const sandbox = id;
      await exclusively(sandbox, () => recoverOne(context, sandbox, op)).catch((error: unknown) => {
        op.log.warn(
          { sandbox, error: describeError(error) },
          'a sandbox is not recovered; its removal will try again',
        );
      });
    }
  };
  await Promise.all(Array.from({ length: AT_ONCE }, worker));
}

async function recoverOne(context: Context, id: SandboxId, op: Operation): Promise<void> {
  const { sandboxes, kernel } = context;
  const record = sandboxes.get(id);
  if (!record) return;
  const rebooted = record.bootId !== kernel.processes.bootId;
  if (record.state.name === 'ready') {
    await checkPins(context, record);
    return reapplyLimits(context, id);
  }
  if (record.state.name === 'creating') return undoCreation(context, record, op);
  const { reason } = record.state;
  // One whose record could not be read may have running containers.
  if (reason === 'failed') return removeSandbox(context, id, op);
  const hasEnded = rebooted ? record.intents.length > 0 : reason === 'dead';
  if (hasEnded) tell(context, 'stopped', record);
  if (rebooted) return undoIntents(context, record, op);
  // An interrupted stop continues, containers first. A pod that died is stopped by the kubelet.
  if (reason === 'stopped' && record.intents.length > 0) return stopSandbox(context, id, op);
  if (reason === 'dead') await sandboxes.commitNotReady(record);
}

/** A pod whose network namespace is no longer pinned cannot run new containers. */
async function checkPins({ sandboxes, kernel, watches }: Context, record: SandboxRecord): Promise<void> {
  for (const [kind, path] of Object.entries(record.pins)) {
    if (await isPinned(kernel, path)) continue;
    watches.end(record.id);
    return sandboxes.commitNotReady(
      toNotReady(record, 'dead', `its ${kind} namespace is no longer pinned at ${path}`),
    );
  }
}

const undoCreation = (context: Context, record: SandboxRecord, op: Operation): Promise<void> =>
  removeUndone(context, toNotReady(record, 'failed', 'the daemon ended while it was being made'), op);

/** No caller has the id of an interrupted creation: if all can be undone it is removed, else it stays listed as not ready. */
async function removeUndone(context: Context, failed: SandboxRecord, op: Operation): Promise<void> {
  await undoIntents(context, failed, op);
  await context.sandboxes.remove(failed.id);
}
