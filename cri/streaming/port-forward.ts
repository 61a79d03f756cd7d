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
  /** Hands the input to the sink, whose end is the input's. */
  readonly feed: (sink: Writable) => void;
  readonly output: Writable;
  /** Ends it; a failure is told to the client in words. */
  readonly end: (failure: string | undefined) => void;
}

/** How long a connection may take to be made. */
const CONNECT_MS = 30_000;
/** How long a client may still send after the pod's side has ended, before the connection is closed. */
const LINGER_MS = 10_000;

/**
 * Joins a client's connection with a port of the pod until the pod's side has ended or the client has gone. Half-closing
 * passes both ways. Never rejects: what fails is told to the client and logged.
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
    op.log.info({ port, error: why }, 'a port cannot be reached');
    end(`error forwarding port ${port} to pod ${session.sandbox.slice(0, 13)}: ${why}`);
    return;
  }
  await join(socket, connection, op.signal);
  end(undefined);
}

/** Settles when all that the pod has said is on its way to the client, or one of them has gone. */
function join(
  socket: Socket,
  { input, output, feed }: ForwardedConnection,
  signal: AbortSignal,
): Promise<void> {
  const { promise, resolve } = Promise.withResolvers<void>();
  const cut = () => socket.destroy();
  signal.addEventListener('abort', cut, { once: true });
  feed(socket);
  socket.once('end', () => {
    resolve();
    setTimeout(cut, LINGER_MS).unref();
  });
  socket.once('close', () => {
    signal.removeEventListener('abort', cut);
    input.unpipe(socket);
    if (!input.destroyed) input.on('data', () => {}).resume();
    resolve();
  });
  input.once('error', cut);
  output.once('close', () => {
    if (!output.writableFinished) cut();
  });
  input.once('close', () => {
    if (!input.readableEnded) cut();
  });
  return promise;
}
