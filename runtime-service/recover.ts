import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { type ContainerIntent, type ContainerRecord, nowNanoseconds } from './container.ts';
import { unknownExit } from './exits.ts';
import type { Runtime } from './runtime.ts';
import { endStaleExec, type StaleExec, staleExecs } from './stale-execs.ts';
import { ofProcess, undoContainer } from './undo.ts';
import { finishUpdate } from './update.ts';

/** What an earlier daemon left unfinished besides the states of its records. */
export interface Unfinished {
  /** Keys of removals that were cut short. */
  readonly removing: readonly string[];
  readonly execs: readonly StaleExec[];
}

/** Reads the records, so that reads are right from then on: what ran when the host went down has ended. */
export async function loadContainers(runtime: Runtime): Promise<Unfinished> {
  const { containers, kernel } = runtime;
  const { removing } = await containers.load();
  for (const record of containers.list()) {
    if (record.state !== 'running' || record.process?.bootId === kernel.processes.bootId) continue;
    containers.publish({ ...record, state: 'exited', exit: unknownExit(), process: undefined });
  }
  return { removing, execs: staleExecs(runtime) };
}

/**
 * Finishes what an earlier daemon left unfinished. Running containers are left as they are: their monitors never
 * stopped. A creation that was cut off is taken back; a start that was cut off is taken back and is a start error.
 * Never throws: what fails is logged, and its removal tries again.
 */
export async function recoverContainers(
  runtime: Runtime,
  { removing, execs }: Unfinished,
  op: Operation,
): Promise<void> {
  const { containers, log } = runtime;
  const heal = (record: ContainerRecord) =>
    containers
      .exclusive(record.id, () => recoverContainer(runtime, record.id, op))
      .catch((error: unknown) =>
        log.error({ container: record.id, error: describeError(error) }, 'container is not recovered'),
      );
  await Promise.all([
    ...containers.list().map(heal),
    ...execs.map((exec) => endStaleExec(runtime, exec, op)),
  ]);
  await containers
    .sweep(removing)
    .catch((error: unknown) =>
      log.warn({ error: describeError(error) }, 'removed containers leave files behind'),
    );
}

/**
 * Brings one container to a state that stands by itself. To be called in its turn (`exclusive`), when no act of this
 * daemon is under way on it: also by a retry that comes before the recovery does.
 */
export async function recoverContainer(
  runtime: Runtime,
  id: ContainerRecord['id'],
  op: Operation,
): Promise<void> {
  const { containers, kernel } = runtime;
  await finishUpdate(runtime, id, op);
  const record = containers.get(id);
  if (!record) return;
  if (record.state === 'creating') {
    const { left } = await undoContainer(runtime, record, op);
    if (left.length === 0) await containers.remove(record);
  } else if (record.state === 'starting') {
    await interruptedStart(runtime, record, op);
  } else if (record.state === 'exited' && record.process === undefined && record.intents.some(ofProcess)) {
    const { left } = await undoContainer(runtime, record, op, ofProcess);
    await containers.settle({ ...record, intents: left, monitor: undefined });
  } else if (record.state === 'created' && kernel.mounts.below(rootOf(record)).length === 0) {
    // The host was restarted in between: its bundle lay on a tmpfs and is gone.
    await failStart(
      runtime,
      record,
      record.intents,
      'the node was restarted before the container was started',
    );
  }
}

const rootOf = ({ intents }: ContainerRecord): string =>
  intents.find((intent) => intent.kind === 'rootfs')?.target ?? '';

async function interruptedStart(runtime: Runtime, record: ContainerRecord, op: Operation): Promise<void> {
  const { left } = await undoContainer(runtime, record, op, ofProcess);
  await failStart(runtime, record, left, 'the daemon ended while the container was being started');
}

const failStart = (
  runtime: Runtime,
  record: ContainerRecord,
  intents: readonly ContainerIntent[],
  message: string,
): Promise<unknown> =>
  runtime.containers.settle({
    ...record,
    state: 'exited',
    intents,
    exit: { code: 128, reason: 'StartError', message, finishedAt: nowNanoseconds() },
  });
