import { CrispError, describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { RuntimeService } from '#runtime-service/index.ts';
import type { RemoteCommand } from './remote-command.ts';
import type { Outcome } from './remote-status.ts';
import type { StreamingSession } from './sessions.ts';

export type Containers = Pick<RuntimeService, 'execStream' | 'attach'>;

/** Carries out an exec or attach session; what the container refuses is told to the client, too, then thrown. */
export async function runCommand(
  containers: Containers,
  session: Exclude<StreamingSession, { kind: 'portforward' }>,
  remote: RemoteCommand,
  op: Operation,
): Promise<void> {
  const gone = new AbortController();
  void remote.gone.then((reason) => {
    gone.abort(
      new CrispError('Cancelled', `the client has gone${reason === undefined ? '' : `: ${reason}`}`),
    );
  });
  const under = op.under(AbortSignal.any([op.signal, gone.signal]));
  let outcome: Outcome = { failure: 'the session was cut off' };
  try {
    outcome = { exitCode: await carryOut(containers, session, remote, under) };
  } catch (error) {
    outcome = { failure: `error executing command in container: ${describeError(error)}` };
    throw error;
  } finally {
    if (gone.signal.aborted) remote.destroy();
    else await op.stage('finish', () => remote.finish(outcome));
  }
}

async function carryOut(
  containers: Containers,
  session: Exclude<StreamingSession, { kind: 'portforward' }>,
  { streams }: RemoteCommand,
  op: Operation,
): Promise<number> {
  const { container, wanted } = session;
  if (session.kind === 'exec') {
    return containers.execStream(container, { command: session.command, tty: wanted.tty }, streams, op);
  }
  await containers.attach(container, streams, op);
  return 0;
}
