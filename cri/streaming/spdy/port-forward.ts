import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { type ForwardedConnection, type ForwardSession, forward, type PodPorts } from '../port-forward.ts';
import { RST } from './frames.ts';
import { SpdySession } from './session.ts';
import type { SpdyStream } from './stream.ts';

/** Two for each connection: 512 connections of one client at a time. */
const MAX_STREAMS = 1024;
/** How long the second stream of a connection may be missing. */
const PAIR_MS = 30_000;

interface PendingStream {
  readonly stream: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/**
 * portforward.k8s.io: for each connection a stream for errors and one for data, distinguished by `streamType` and paired by
 * `requestID`. Resolves when the client has disconnected; throws the reason if that was not orderly.
 */
export async function servePortForward(
  transport: Duplex,
  head: Buffer,
  session: ForwardSession,
  pods: PodPorts,
  op: Operation,
): Promise<void> {
  const pending = new Map<string, PendingStream>();
  const spdy = new SpdySession(transport, head, {
    maxStreams: MAX_STREAMS,
    onStream: (stream) => {
      const connection = pair(pending, stream, op);
      if (connection) void forward(pods, session, connection, op);
    },
  });
  const stop = () => void spdy.close();
  op.signal.addEventListener('abort', stop, { once: true });
  if (op.signal.aborted) stop();
  const reason = await spdy.ended;
  op.signal.removeEventListener('abort', stop);
  for (const { timer } of pending.values()) clearTimeout(timer);
  if (reason !== undefined) throw new CrispError('Cancelled', `the client disconnected: ${reason}`);
}

/** The connection that this stream makes complete, if it does. An invalid stream is reset. */
function pair(
  pending: Map<string, PendingStream>,
  stream: SpdyStream,
  op: Operation,
): ForwardedConnection | undefined {
  const type = stream.headers.get('streamtype');
  const port = Number(stream.headers.get('port'));
  if ((type !== 'data' && type !== 'error') || !Number.isInteger(port) || port < 1 || port > 65_535) {
    op.log.info({ stream: stream.id }, 'a stream of an unknown type or port is refused');
    stream.reset(RST.protocolError);
    return undefined;
  }
  const id = requestOf(stream, type);
  const other = pending.get(`${id} ${type === 'data' ? 'error' : 'data'}`);
  if (other) {
    clearTimeout(other.timer);
    pending.delete(`${id} ${type === 'data' ? 'error' : 'data'}`);
    return type === 'data'
      ? connectionOf(port, stream, other.stream)
      : connectionOf(port, other.stream, stream);
  }
  const key = `${id} ${type}`;
  if (pending.has(key)) {
    stream.reset(RST.protocolError);
    return undefined;
  }
  const removePending = () => {
    if (pending.get(key)?.stream === stream) pending.delete(key);
    clearTimeout(timer);
  };
  const timer = setTimeout(() => {
    op.log.info(
      { stream: stream.id, seconds: PAIR_MS / 1000 },
      'the second stream of a connection was not opened',
    );
    stream.reset(RST.cancel);
  }, PAIR_MS);
  pending.set(key, { stream, timer });
  stream.once('close', removePending);
  return undefined;
}

/** Old clients send no id: there the data stream follows directly after its error stream. */
function requestOf(stream: SpdyStream, type: 'data' | 'error'): string {
  return stream.headers.get('requestid') ?? String(type === 'error' ? stream.id : stream.id - 2);
}

function connectionOf(port: number, data: SpdyStream, errors: SpdyStream): ForwardedConnection {
  errors.on('data', () => {}); // clients end it at once and send no data
  return {
    port,
    input: data,
    feed: (sink) => data.forwardTo(sink),
    output: data,
    end: (failure) => {
      errors.end(failure);
      if (failure === undefined) data.end();
      else data.reset(RST.internalError);
    },
  };
}
