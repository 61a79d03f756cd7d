import { CrispError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import { type Operation, withDeadline } from '#core/operation.ts';
import { type ContainerRecord, mayRun } from '../container.ts';
import type { Context } from '../context.ts';
import { signalNumber } from '../signals.ts';
import { type Grace, MAX_GRACE_MS } from './grace.ts';

const SIGTERM = 15;

/** StopContainer: signal, grace, kill by the container's cgroup; it returns when the container is EXITED. */
export async function stopContainer(
  context: Context,
  id: ContainerId,
  grace: Grace,
  op: Operation,
): Promise<void> {
  const { containers } = context;
  // A start under way ends first: there is nothing to signal before it.
  const record = await containers.exclusive(id, async () => containers.get(id));
  if (!record || !mayRun(record)) return;
  context.attachments.onStopping(id);
  const exit = exitOf(context, id);
  try {
    if (grace.ms > 0) {
      await op.stage('signal', () => sendStopSignal(context, record));
      await op.deadline('grace', MAX_GRACE_MS, () => Promise.race([exit.promise, grace.over]));
    }
    if (!exit.settled()) await op.stage('kill', () => kill(context, record, exit.promise, op));
  } finally {
    exit.forget();
  }
}

async function sendStopSignal(context: Context, record: ContainerRecord): Promise<void> {
  let number = SIGTERM;
  try {
    number = signalNumber(record.stopSignal);
  } catch (error) {
    context.log.warn({ container: record.id, error: String(error) }, 'unknown stop signal; SIGTERM is sent');
  }
  await context.execBarrier.passed(record.id);
  if (record.process) context.kernel.processes.signal(record.process, number);
}

async function kill(
  { kernel, options }: Context,
  record: ContainerRecord,
  exited: Promise<void>,
  op: Operation,
): Promise<void> {
  const { path } = record.cgroup;
  await op.deadline(
    'kill cgroup',
    options.timeouts.kill,
    (signal) => kernel.cgroups.kill(path, signal),
    path,
  );
  try {
    await withDeadline('wait for the exit to be recorded', options.timeouts.kill, op.signal, () => exited);
  } catch (error) {
    throw new CrispError(
      'DeadlineExceeded',
      `container ${record.id} was killed, but its exit is not reported`,
      {
        cause: error,
        hint: `check which processes remain in its cgroup ${path} (state D: a device or file system hangs)`,
      },
    );
  }
}

/** Settles when the committed state is no longer one that runs. */
function exitOf(
  { containers }: Context,
  id: ContainerId,
): { promise: Promise<void>; settled(): boolean; forget(): void } {
  const { promise, resolve } = Promise.withResolvers<void>();
  let settled = false;
  const check = () => {
    const record = containers.get(id);
    if (record && mayRun(record)) return;
    settled = true;
    resolve();
  };
  const forget = containers.onChange((after, before) => {
    if ((after ?? before)?.id === id) check();
  });
  check();
  return { promise, settled: () => settled, forget };
}
