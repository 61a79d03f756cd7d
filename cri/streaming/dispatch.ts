import { createWebSocketStream } from 'ws';
import type { Operation } from '#core/operation.ts';
import type { ForwardSession, PodPorts } from './port-forward.ts';
import { type Containers, runCommand } from './run-command.ts';
import type { Connection } from './server.ts';
import type { StreamingSession } from './sessions.ts';
import { servePortForward } from './spdy/port-forward.ts';
import { openSpdyCommand } from './spdy/remote-command.ts';
import { serveChannelForward } from './websocket/port-forward.ts';
import { openWebSocketCommand } from './websocket/remote-command.ts';

export interface StreamingServices {
  readonly containers: Containers;
  readonly pods: PodPorts;
}

/** Serves one session; resolves at its end, throws the error that aborted it. */
export async function serveSession(
  { containers, pods }: StreamingServices,
  session: StreamingSession,
  connection: Connection,
  op: Operation,
): Promise<void> {
  if (session.kind === 'portforward') return serveForward(pods, session, connection, op);
  const { requested } = session;
  const { transport, protocol } = connection;
  const remote =
    transport === 'websocket'
      ? openWebSocketCommand(connection.socket, protocol, requested)
      : await op.stage('streams', () =>
          openSpdyCommand(connection.stream, connection.head, protocol, requested, op.signal),
        );
  await runCommand(containers, session, remote, op);
}

async function serveForward(
  pods: PodPorts,
  session: ForwardSession,
  connection: Connection,
  op: Operation,
): Promise<void> {
  if (connection.transport === 'spdy') {
    return servePortForward(connection.stream, connection.head, session, pods, op);
  }
  const { socket, protocol } = connection;
  if (!protocol.startsWith('SPDY/')) return serveChannelForward(socket, protocol, session, pods, op);
  return servePortForward(createWebSocketStream(socket), Buffer.alloc(0), session, pods, op);
}
