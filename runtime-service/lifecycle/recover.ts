import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { type ContainerIntent, type ContainerRecord, nowNanoseconds } from '../container.ts';
import type { Context } from '../context.ts';
import { endExec, type StaleExec, staleExecs } from '../exec/stale-execs.ts';
import type { Cleanups } from './cleanup.ts';
import { unknownExit } from './exits.ts';
import { takeBack } from './removed-container.ts';
import { ofCheckpoint, ofProcess, undoContainer } from './undo.ts';
import { takeUpUnreadable } from './unreadable.ts';
import { finishUpdate } from './update.ts';

/** What an earlier daemon left unfinished besides the states of its records. */
export interface Unfinished {
  /** Containers whose removal was cut short, or whose record cannot be read. */
  readonly removed: readonly ContainerRecord[];
  readonly execs: readonly StaleExec[];
}

/** Reads the records, so that reads are right from then on: what ran when the host went down has ended. */
export async function loadContainers(context: Context): Promise<Unfinished> {
  const { containers, kernel } = context;
  const { removing, broken } = await containers.load();
  for (const record of containers.list()) {
    if (record.state !== 'running' || record.process?.bootId === kernel.processes.bootId) continue;
    containers.publish({ ...record, state: 'exited', exit: unknownExit(), process: undefined });
  }
  const removed: ContainerRecord[] = [];
  const unreadable: string[] = [];
  for (const key of removing) {
    if (context.leaks.get(key)) continue; // its end goes on from there
    const record = await containers.removed(key);
    if (record) removed.push(record);
    else unreadable.push(key);
  }
  removed.push(...(await takeUpUnreadable(context, broken, unreadable)));
  return { removed, execs: staleExecs(context) };
}

/**
 * Finishes what an earlier daemon left unfinished. Running containers are left as they are: their monitors never
 * stopped. A creation that was cut off is taken back; a start that was cut off is taken back and is a start error.
 * Never throws: what fails is logged, and its removal tries again.
 */
export async function recoverContainers(
  context: Context,
  cleanups: Pick<Cleanups, 'ended' | 'resume'>,
  { execs }: Unfinished,
  op: Operation,
): Promise<void> {
  const { containers, log } = context;
  const heal = async ({ id }: ContainerRecord) => {
    try {
      await containers.exclusive(id, () => recoverContainer(context, id, op));
      const ended = containers.get(id);
      if (ended?.state === 'exited' && ended.intents.some(ofProcess)) await cleanups.ended(ended);
    } catch (error) {
      log.error({ container: id, error: describeError(error) }, 'container is not recovered');
    }
  };
  const take = (exec: StaleExec) =>
    exec.hasEnded ? context.execJobs.keep(exec) : endExec(context, exec, op);
  await Promise.all([...containers.list().map(heal), ...execs.map(take)]);
  await cleanups.resume();
}

/**
 * Brings one container to a state that stands by itself. To be called in its turn (`exclusive`), when no act of this
 * daemon is under way on it: also by a retry that comes before the recovery does.
 */
export async function recoverContainer(
  context: Context,
  id: ContainerRecord['id'],
  op: Operation,
): Promise<void> {
  const { containers, kernel } = context;
  await finishUpdate(context, id, op);
  const record = containers.get(id);
  if (!record) return;
  if (record.state === 'running' && record.intents.some(ofCheckpoint)) {
    const { left } = await undoContainer(context, record, op, ofCheckpoint);
    await containers.update({ ...record, intents: left });
  } else if (record.state === 'creating') {
    await containers.markRemoved(record);
    await takeBack(context, record, op);
  } else if (record.state === 'starting') {
    await interruptedStart(context, record, op);
  } else if (record.state === 'created' && kernel.mounts.below(rootOf(record)).length === 0) {
    // The host was restarted in between: its bundle lay on a tmpfs and is gone.
    await failStart(
      context,
      record,
      record.intents,
      'the node was restarted before the container was started',
    );
  }
}

const rootOf = ({ intents }: ContainerRecord): string =>
  intents.find((intent) => intent.kind === 'rootfs')?.target ?? '';

async function interruptedStart(context: Context, record: ContainerRecord, op: Operation): Promise<void> {
  const { left } = await undoContainer(context, record, op, ofProcess);
  await failStart(context, record, left, 'the daemon ended while the container was being started');
}

const failStart = (
  context: Context,
  record: ContainerRecord,
  intents: readonly ContainerIntent[],
  message: string,
): Promise<unknown> =>
  context.containers.settle({
    ...record,
    state: 'exited',
    intents,
    exit: { code: 128, reason: 'StartError', message, finishedAt: nowNanoseconds() },
  });
