import { describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { type NewerRecords, newerRecords } from '#core/newer-records.ts';
import type { Operation } from '#core/operation.ts';
import { type ContainerIntent, type ContainerRecord, nowNanoseconds } from '../container.ts';
import type { Context, StaleExec } from '../context.ts';
import { endExec, staleExecs } from '../exec/exec-cleanup.ts';
import { unknownExit } from './exits.ts';
import { cleanUpRemoved } from './removed-container.ts';
import { ofCheckpoint, ofProcess, undoContainer } from './undo.ts';
import { adoptUnreadable } from './unreadable.ts';
import { finishUpdate } from './update.ts';

/** What an earlier daemon left unfinished besides what the states of its records show. */
export interface Unfinished {
  /** The containers whose records were read: one that comes later is this daemon's own. */
  readonly found: readonly ContainerId[];
  /** Containers whose removal was interrupted, or whose record cannot be read. */
  readonly removed: readonly ContainerRecord[];
  readonly execs: readonly StaleExec[];
  readonly newer: NewerRecords;
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
    if (context.leaks.get(key)) continue; // it is retried from there
    const record = await containers.removed(key);
    if (record) removed.push(record);
    else unreadable.push(key);
  }
  removed.push(...(await adoptUnreadable(context, broken, unreadable)));
  const newer = newerRecords(broken, `${context.options.state}/containers`);
  const found = containers.list().map(({ id }) => id);
  return { found, removed, execs: staleExecs(context), newer };
}

/**
 * Finishes what an earlier daemon left unfinished, while clients are served: a creation of this daemon goes on. Running
 * containers are left as they are: their monitors never stopped. An interrupted creation is undone; an interrupted start
 * is undone and is a start error. Never throws: what fails is logged, and the container's removal tries again.
 */
export async function recoverContainers(
  context: Context,
  { found, execs }: Pick<Unfinished, 'found' | 'execs'>,
  op: Operation,
): Promise<void> {
  const { containers, cleanups, log } = context;
  const recover = async (id: ContainerId) => {
    try {
      await containers.exclusive(id, () => recoverContainer(context, id, op));
      const ended = containers.get(id);
      if (ended?.state === 'exited' && ended.intents.some(ofProcess)) await cleanups.afterExit(ended);
    } catch (error) {
      log.error({ container: id, error: describeError(error) }, 'container is not recovered');
    }
  };
  const recoverExec = (exec: StaleExec) =>
    exec.hasEnded ? context.execJobs.keep(exec) : endExec(context, exec, op);
  await Promise.all([...found.map(recover), ...execs.map(recoverExec)]);
}

/**
 * Brings one container to a state that needs no running operation. To be called in its turn (`exclusive`), when no
 * operation of this daemon runs on it: also by a retry that comes before the recovery does.
 */
export async function recoverContainer(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const { containers, kernel } = context;
  await finishUpdate(context, id, op);
  const record = containers.get(id);
  if (!record) return;
  if (record.state === 'running' && record.intents.some(ofCheckpoint)) {
    const { left } = await undoContainer(context, record, op, ofCheckpoint);
    await containers.commit({ ...record, intents: left });
  } else if (record.state === 'creating') {
    await containers.markRemoved(record);
    await cleanUpRemoved(context, record, op);
  } else if (record.state === 'starting') {
    await interruptedStart(context, record, op);
  } else if (record.state === 'created' && kernel.mounts.below(rootOf(record)).length === 0) {
    // The host was restarted in between: its bundle was on a tmpfs and is gone.
    await failStart(
      context,
      record,
      record.intents,
      'the node was restarted before the container was started',
    );
  }
}

/** A guard of StartContainer: a start or an update that an earlier daemon did not finish is undone or finished first. */
export async function recoverInterrupted(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const { state, update } = context.containers.get(id) ?? {};
  if (state === 'starting' || update) await recoverContainer(context, id, op.detached('recover'));
}

/**
 * A guard of CreateContainer: a container of this name that is not created in full was left by a daemon that died or by
 * a failed rollback, and is removed first. To be called when no other call creates this name.
 */
export async function cleanUpIncomplete(context: Context, key: string, op: Operation): Promise<void> {
  const { containers } = context;
  const incomplete = containers.byKey(key);
  if (incomplete?.state !== 'creating') return;
  await op.stage('clean up', () =>
    containers.exclusive(incomplete.id, () =>
      recoverContainer(context, incomplete.id, op.detached('clean up')),
    ),
  );
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
  context.containers.commitEnd({
    ...record,
    state: 'exited',
    intents,
    exit: { code: 128, reason: 'StartError', message, finishedAt: nowNanoseconds() },
  });
