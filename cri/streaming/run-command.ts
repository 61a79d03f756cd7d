import { CrispError, describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { RemoteCommand } from './remote-command.ts';
import type { Outcome } from './remote-status.ts';
import type { StreamingSession } from './sessions.ts';

export type Containers = Pick<RuntimeService, 'execStream' | 'attach'>;

/** Runs an exec or attach session; an error is reported to the client, then thrown. */
export async function runCommand(
  containers: Containers,
  session: Exclude<StreamingSession, { kind: 'portforward' }>,
  remote: RemoteCommand,
  op: Operation,
): Promise<void> {
  const disconnected = new AbortController();
  void remote.closed.then((reason) => {
    disconnected.abort(
      new CrispError('Cancelled', `the client disconnected${reason === undefined ? '' : `: ${reason}`}`),
    );
  });
  const under = op.under(AbortSignal.any([op.signal, disconnected.signal]));
  let outcome: Outcome = { failure: 'the session was aborted' };
  try {
    outcome = { exitCode: await run(containers, session, remote, under) };
  } catch (error) {
    outcome = { failure: `error executing command in container: ${describeError(error)}` };
    throw error;
  } finally {
    if (disconnected.signal.aborted) remote.destroy();
    else await op.stage('finish', () => remote.finish(outcome));
  }
}

async function run(
  containers: Containers,
  session: Exclude<StreamingSession, { kind: 'portforward' }>,
  { streams }: RemoteCommand,
  op: Operation,
): Promise<number> {
  const { container, requested } = session;
  if (session.kind === 'exec') {
    const { command, user } = session;
    return containers.execStream(container, { command, tty: requested.tty, user }, streams, op);
  }
  await containers.attach(container, streams, op);
  return 0;
}
