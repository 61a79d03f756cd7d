import { existsSync, statSync } from 'node:fs';
import { mkdir } from 'node:fs/promises';
import { dirname } from 'node:path';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { PodView } from '#core/model/pod.ts';
import type { Operation } from '#core/operation.ts';
import { type ContainerIntent, type ContainerRecord, nowNanoseconds } from '../container.ts';
import type { Context } from '../context.ts';
import { startMonitor } from '../monitor/conmon.ts';
import { restoreDirectory } from '../restore/index.ts';
import { checkPidTarget } from './pid-target.ts';
import { ofCheckpoint, ofProcess, undoContainer } from './undo.ts';

const START_ERROR = 128;
/** Until the runtime has moved the container's process, on a node that has other work too. */
const MOVE_MS = 40;

/**
 * StartContainer: monitor, OCI create, OCI start. Returns when the user's program has been executed. A failure is the
 * call's error, and the container is EXITED with code 128 and reason StartError. To be called in the container's turn.
 */
export async function startContainer(context: Context, id: ContainerId, op: Operation): Promise<void> {
  const record = context.containers.resolve(id);
  if (record.state !== 'created') {
    throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not created`, {
      hint: 'a container starts once: create the next attempt',
    });
  }
  const pod = context.pods.get(record.sandboxId);
  if (!pod?.ready) {
    throw new CrispError('FailedPrecondition', `pod sandbox ${record.sandboxId} is not ready`, {
      hint: 'run a new pod sandbox',
    });
  }
  op.checkpoint();
  context.kernel.cgroups.expectTaskMigration(MOVE_MS);
  const starting = await recordIntents(context, record, pod, op);
  try {
    await launch(context, starting, pod, op);
  } catch (error) {
    await recordFailure(context, starting, error, op.detached('rollback'));
    throw error;
  }
}

function recordIntents(
  context: Context,
  record: ContainerRecord,
  pod: PodView,
  op: Operation,
): Promise<ContainerRecord> {
  const intents: ContainerIntent[] = [
    ...record.intents,
    { kind: 'cgroup', path: record.cgroup.path },
    { kind: 'runtime', handler: record.handler },
    { kind: 'monitor', cgroup: pod.monitorCgroup },
  ];
  return op.stage('record', () => context.containers.commit({ ...record, state: 'starting', intents }));
}

async function launch(context: Context, record: ContainerRecord, pod: PodView, op: Operation): Promise<void> {
  const oci = context.handlers.get(record.handler);
  await op.stage('directories', () =>
    Promise.all([
      ensureDirectory(`${context.options.state}/oci/${oci.handler}`, 0o700),
      record.logPath === '' ? undefined : prepareLog(record.logPath),
    ]),
  );
  context.oomKills.expect(record);
  const { container, monitor } = await startMonitor(context, oci, record, pod.monitorCgroup, op);
  op.checkpoint();
  checkPidTarget(context, record, container);
  // Restored processes go on at once.
  const restored = restoreDirectory(record) !== undefined;
  if (!restored) {
    context.execBarrier.begin(record.id, container);
    await op.stage('OCI start', () => oci.start(record.id, op));
  }
  const running = await op.stage('record', () =>
    context.containers.commit({
      ...record,
      state: 'running',
      startedAt: nowNanoseconds(),
      process: container,
      monitor,
    }),
  );
  if (restored) await deleteCheckpoint(context, running, op);
}

/** It runs: CRIU's files, as large as its memory, are not needed any more. A failure is tried again by the next daemon. */
async function deleteCheckpoint(context: Context, record: ContainerRecord, op: Operation): Promise<void> {
  const { left } = await undoContainer(context, record, op.detached('clean-up'), ofCheckpoint);
  await context.containers.commitEnd({ ...record, intents: left });
}

/** A plugin does not let it start: it is EXITED as after any failed start. To be called in the container's turn. */
export async function refuseStart(
  context: Context,
  id: ContainerId,
  error: unknown,
  op: Operation,
): Promise<void> {
  const record = context.containers.get(id);
  if (record?.state === 'created') await recordFailure(context, record, error, op.detached('rollback'));
}

async function recordFailure(
  context: Context,
  record: ContainerRecord,
  error: unknown,
  op: Operation,
): Promise<void> {
  const { left } = await undoContainer(context, record, op, ofProcess);
  await context.containers.commitEnd({
    ...record,
    state: 'exited',
    intents: left,
    exit: {
      code: START_ERROR,
      reason: 'StartError',
      message: describeError(error),
      finishedAt: nowNanoseconds(),
    },
  });
}

/** After a pod's first start it exists: the check is cheaper than a call in the thread pool. */
async function ensureDirectory(directory: string, mode: number): Promise<void> {
  if (!existsSync(directory)) await mkdir(directory, { recursive: true, mode });
}

/** conmon opens whatever is at the path: a pipe would block it, and the open of a device may have side effects. */
async function prepareLog(path: string): Promise<void> {
  await ensureDirectory(dirname(path), 0o755);
  const found = statSync(path, { throwIfNoEntry: false });
  if (!found || found.isFile()) return;
  throw new CrispError('FailedPrecondition', `log ${path} exists and is not a regular file`, {
    hint: 'remove it, and start the next attempt of the container',
  });
}
