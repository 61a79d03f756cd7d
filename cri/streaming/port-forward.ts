import type { Socket } from 'node:net';
import type { Readable, Writable } from 'node:stream';
import { describeError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import type { PodSandboxes } from '#pod-sandbox/index.ts';
import { reusedBufferReads, writeReusedBuffer } from './read-buffer.ts';
import type { StreamingSession } from './sessions.ts';

export type PodPorts = Pick<PodSandboxes, 'connectPort'>;
export type ForwardSession = Extract<StreamingSession, { kind: 'portforward' }>;

/** A client's side of one forwarded connection. */
export interface ForwardedConnection {
  readonly port: number;
  readonly input: Readable;
  /** Pipes the input into the sink, and ends it with the input. */
  readonly feed: (sink: Writable) => void;
  readonly output: Writable;
  /** Ends it; a failure is reported to the client as text. */
  readonly end: (failure: string | undefined) => void;
}

/** Timeout for connecting to the port. */
const CONNECT_MS = 30_000;
/** How long a client may still send after the pod's side has ended, before the connection is closed. */
const LINGER_MS = 10_000;

/**
 * Connects a client's connection with a port of the pod until the pod's side has ended or the client has disconnected.
 * Half-closes are passed on both ways. Never rejects: failures are reported to the client and logged.
 */
export async function forward(
  pods: PodPorts,
  session: ForwardSession,
  connection: ForwardedConnection,
  op: Operation,
): Promise<void> {
  const { port, input, output, end } = connection;
  input.pause();
  let socket: Socket | undefined;
  const onread = reusedBufferReads((bytes) => {
    const kept = writeReusedBuffer(output, bytes);
    if (output.writableNeedDrain && output.writableLength > 0) {
      socket?.pause();
      output.once('drain', () => socket?.resume());
    }
    return kept;
  });
  try {
    const limit = AbortSignal.any([op.signal, AbortSignal.timeout(CONNECT_MS)]);
    socket = await pods.connectPort(session.sandbox, port, limit, onread);
  } catch (error) {
    const why = describeError(error);
    op.log.info({ port, error: why }, 'cannot connect to a port of the pod');
    end(`error forwarding port ${port} to pod ${session.sandbox.slice(0, 13)}: ${why}`);
    return;
  }
  await join(socket, connection, op.signal);
  end(undefined);
}

/** Settles when all output of the pod is written to the client, or one side is closed. */
function join(
  socket: Socket,
  { input, output, feed }: ForwardedConnection,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const destroy = () => socket.destroy();
  signal.addEventListener('abort', destroy, { once: true });
  if (signal.aborted) destroy();
  feed(socket);
  socket.once('end', () => {
    resolve();
    setTimeout(destroy, LINGER_MS).unref();
  });
  socket.once('close', () => {
    signal.removeEventListener('abort', destroy);
    input.unpipe(socket);
    if (!input.destroyed) input.on('data', () => {}).resume();
    resolve();
  });
  input.once('error', destroy);
  output.once('close', () => {
    if (!output.writableFinished) destroy();
  });
  input.once('close', () => {
    if (!input.readableEnded) destroy();
  });
  return promise;
}
