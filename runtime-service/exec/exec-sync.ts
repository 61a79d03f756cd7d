import { CrispError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ExitStatus } from '#linux/ports/kernel.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import { ExecOutput } from './exec-output.ts';
import { ExecSession } from './exec-session.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

const STDIO = { stdin: 'null', stdout: 'pipe', stderr: 'pipe' } as const;
const NO_DEADLINE_MS = 2 ** 31 - 1;
/** How long a client whose deadline has passed waits for the killed processes to end. */
const KILL_MS = 5000;

/** The container, where a command may be executed in it. Throws InvalidArgument, NotFound, FailedPrecondition. */
export function checkExec(context: Context, idOrPrefix: string, command: readonly string[]): ContainerRecord {
  if (command.length === 0)
    throw new CrispError('InvalidArgument', 'exec: cmd is empty', { hint: 'name a command' });
  return runningContainer(context, idOrPrefix);
}

/** Throws NotFound, FailedPrecondition. */
export function runningContainer(context: Context, idOrPrefix: string): ContainerRecord {
  const record = context.containers.resolve(idOrPrefix);
  if (record.state === 'running') return record;
  throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
    hint: 'start it first',
  });
}

/**
 * ExecSync: a command in a running container, with the container's user, groups, capabilities and filters. It runs in
 * a child cgroup of the container's, so that at the deadline all of it is killed, whatever it has forked. When it ends by
 * itself, its background jobs run on, as with CRI-O and containerd.
 */
export async function execSync(
  context: Context,
  id: ContainerId,
  command: readonly string[],
  timeoutMs: number,
  op: Operation,
): Promise<ExecResult> {
  const record = checkExec(context, id, command);
  const session = new ExecSession(context, record);
  using output = new ExecOutput();
  const started = performance.now();
  let status: ExitStatus | undefined;
  let isGone: boolean | undefined;
  try {
    await op.stage('prepare', () => session.prepare(command, false));
    const limit = timeoutMs > 0 ? timeoutMs : NO_DEADLINE_MS;
    status = await op.deadline('command', limit, async (signal) => {
      const { child } = await session.start(STDIO, false, signal);
      output.follow(child.stdout, child.stderr);
      return child.exited;
    });
    await op.stage('drain', () => output.drained());
    const failure = await session.failureOf(status);
    if (failure) throw failure;
    return { exitCode: status.code, ...output.bytes() };
  } catch (error) {
    const late = timeoutMs > 0 && performance.now() - started >= timeoutMs;
    if (status || !late || !hasCode(error, 'DeadlineExceeded')) throw error;
    isGone = await session.end(op.detached('clean-up'), false, KILL_MS);
    throw deadlineExceeded(command, timeoutMs, isGone, error);
  } finally {
    if (isGone === undefined) await session.end(op.detached('clean-up'), status !== undefined, KILL_MS);
  }
}

function deadlineExceeded(
  command: readonly string[],
  timeoutMs: number,
  isGone: boolean,
  cause: unknown,
): CrispError {
  const end = isGone ? 'was killed' : 'cannot be killed yet';
  return new CrispError(
    'DeadlineExceeded',
    `command ${JSON.stringify(command[0])} did not end within ${timeoutMs / 1000} s and ${end}`,
    {
      cause,
      hint: isGone
        ? 'it may have done a part of its work: check whether it may be run again, or raise the timeout'
        : 'check which of its processes are in state D: a device or a file system hangs',
    },
  );
}
