import { CrispError, hasCode } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from './container.ts';
import { ExecSession } from './exec-session.ts';
import type { Runtime } from './runtime.ts';

export interface ExecResult {
  readonly exitCode: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
}

const NO_DEADLINE_MS = 2 ** 31 - 1;

/** The container, where a command may be executed in it. Throws InvalidArgument, NotFound, FailedPrecondition. */
export function checkExec(runtime: Runtime, idOrPrefix: string, command: readonly string[]): ContainerRecord {
  if (command.length === 0)
    throw new CrispError('InvalidArgument', 'exec: cmd is empty', { hint: 'name a command' });
  return runningContainer(runtime, idOrPrefix);
}

/** Throws NotFound, FailedPrecondition. */
export function runningContainer(runtime: Runtime, idOrPrefix: string): ContainerRecord {
  const record = runtime.containers.resolve(idOrPrefix);
  if (record.state === 'running') return record;
  throw new CrispError('FailedPrecondition', `container ${record.id} is ${record.state}, not running`, {
    hint: 'start it first',
  });
}

/**
 * ExecSync: a command in a running container, with the container's user, groups, capabilities and filters. It runs in
 * a child cgroup of the container's, so that at the deadline all of it is killed, whatever it has forked.
 */
export async function execSync(
  runtime: Runtime,
  id: ContainerId,
  command: readonly string[],
  timeoutMs: number,
  op: Operation,
): Promise<ExecResult> {
  const record = checkExec(runtime, id, command);
  const session = new ExecSession(runtime, record);
  await op.stage('prepare', () => session.prepare(command, false));
  try {
    const output = await op.deadline('command', timeoutMs > 0 ? timeoutMs : NO_DEADLINE_MS, (signal) =>
      session.run(signal),
    );
    await session.refuseFailure(output.status);
    return { exitCode: output.status.code, stdout: output.stdout, stderr: output.stderr };
  } catch (error) {
    if (hasCode(error, 'DeadlineExceeded')) {
      throw new CrispError(
        'DeadlineExceeded',
        `command ${JSON.stringify(command[0])} did not end within ${timeoutMs / 1000} s and was killed`,
        { cause: error },
      );
    }
    throw error;
  } finally {
    await session.end(op.detached('clean-up'));
  }
}
