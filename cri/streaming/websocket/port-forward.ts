import type { Writable } from 'node:stream';
import type { WebSocket } from 'ws';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { type ForwardSession, forward, type PodPorts } from '../port-forward.ts';
import { Channels } from './channels.ts';

/**
 * The channel form of port-forward: one connection for each port of the request, on two channels, data and errors; each
 * begins with its port in two bytes, low byte first. Resolves when all are over, or the client has disconnected.
 */
export async function serveChannelForward(
  socket: WebSocket,
  protocol: string,
  session: ForwardSession,
  pods: PodPorts,
  op: Operation,
): Promise<void> {
  const channels = new Channels(socket, protocol);
  const disconnected = new AbortController();
  const reason = channels.ended.finally(() =>
    disconnected.abort(new CrispError('Cancelled', 'the client disconnected')),
  );
  const under = op.under(AbortSignal.any([op.signal, disconnected.signal]));
  const connections = session.ports.map(async (port, n) => {
    const number = Buffer.alloc(2);
    number.writeUInt16LE(port);
    channels.send(2 * n, number);
    channels.send(2 * n + 1, number);
    const input = channels.source(2 * n);
    const output = channels.sink(2 * n);
    const feed = (sink: Writable) => input.pipe(sink);
    const end = (failure: string | undefined) => {
      if (failure !== undefined) channels.send(2 * n + 1, Buffer.from(failure));
    };
    await forward(pods, session, { port, input, feed, output, end }, under);
  });
  await Promise.all(connections);
  await channels.close();
  const why = await reason;
  if (why !== undefined) throw new CrispError('Cancelled', `the client disconnected: ${why}`);
}
