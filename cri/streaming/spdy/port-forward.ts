import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import type { Operation } from '#core/operation.ts';
import { type ForwardedConnection, type ForwardSession, forward, type PodPorts } from '../port-forward.ts';
import { RST } from './frames.ts';
import { SpdySession } from './session.ts';
import type { SpdyStream } from './stream.ts';

/** Two for each connection: 512 connections of one client at a time. */
const MOST_STREAMS = 1024;
/** How long the second stream of a connection may be missing. */
const PAIR_MS = 30_000;

interface Half {
  readonly stream: SpdyStream;
  readonly timer: NodeJS.Timeout;
}

/**
 * portforward.k8s.io: for each connection a stream for errors and one for data, told apart by `streamType` and joined by
 * `requestID`. Resolves when the client has gone; throws the reason where that was not in order.
 */
export async function servePortForward(
  transport: Duplex,
  head: Buffer,
  session: ForwardSession,
  pods: PodPorts,
  op: Operation,
): Promise<void> {
  const halves = new Map<string, Half>();
  const spdy = new SpdySession(transport, head, {
    maxStreams: MOST_STREAMS,
    onStream: (stream) => {
      const connection = pair(halves, stream, op);
      if (connection) void forward(pods, session, connection, op);
    },
  });
  const stop = () => void spdy.close();
  op.signal.addEventListener('abort', stop, { once: true });
  const reason = await spdy.ended;
  op.signal.removeEventListener('abort', stop);
  for (const { timer } of halves.values()) clearTimeout(timer);
  if (reason !== undefined) throw new CrispError('Cancelled', `the client has gone: ${reason}`);
}

/** The connection that this stream makes complete, if it does. A stream that makes no sense is reset. */
function pair(halves: Map<string, Half>, stream: SpdyStream, op: Operation): ForwardedConnection | undefined {
  const type = stream.headers.get('streamtype');
  const port = Number(stream.headers.get('port'));
  if ((type !== 'data' && type !== 'error') || !Number.isInteger(port) || port < 1 || port > 65_535) {
    op.log.info({ stream: stream.id }, 'a stream of an unknown type or port is refused');
    stream.reset(RST.protocolError);
    return undefined;
  }
  const id = requestOf(stream, type);
  const other = halves.get(`${id} ${type === 'data' ? 'error' : 'data'}`);
  if (other) {
    clearTimeout(other.timer);
    halves.delete(`${id} ${type === 'data' ? 'error' : 'data'}`);
    return type === 'data'
      ? connectionOf(port, stream, other.stream)
      : connectionOf(port, other.stream, stream);
  }
  const key = `${id} ${type}`;
  if (halves.has(key)) {
    stream.reset(RST.protocolError);
    return undefined;
  }
  const forget = () => {
    if (halves.get(key)?.stream === stream) halves.delete(key);
    clearTimeout(timer);
  };
  const timer = setTimeout(() => {
    op.log.info(
      { stream: stream.id, seconds: PAIR_MS / 1000 },
      'the second stream of a connection did not come',
    );
    stream.reset(RST.cancel);
  }, PAIR_MS);
  halves.set(key, { stream, timer });
  stream.once('close', forget);
  return undefined;
}

/** Old clients give no id: there the data stream comes right after its error stream. */
function requestOf(stream: SpdyStream, type: 'data' | 'error'): string {
  return stream.headers.get('requestid') ?? String(type === 'error' ? stream.id : stream.id - 2);
}

function connectionOf(port: number, data: SpdyStream, errors: SpdyStream): ForwardedConnection {
  errors.on('data', () => {}); // clients end it at once; what they say on it is nothing
  return {
    port,
    input: data,
    feed: (sink) => data.handTo(sink),
    output: data,
    end: (failure) => {
      errors.end(failure);
      if (failure === undefined) data.end();
      else data.reset(RST.internalError);
    },
  };
}
