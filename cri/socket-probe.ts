import { once } from 'node:events';
import { connect, type Socket } from 'node:net';
import { runtimeServiceDefinition } from '#api/cri/v1/services.ts';
import { CrispError, describeError, errnoOf } from '#core/errors.ts';
import { Flag, FrameReader, FrameType, frame, PREFACE, settings } from './grpc/frames.ts';
import { encodeHeaders, HpackDecoder } from './grpc/hpack.ts';

const { path } = runtimeServiceDefinition.Version;
const STREAM = 1;
/** A request of Version in its gRPC message: all fields are empty. */
const MESSAGE = Buffer.alloc(5);
const MAX_HEADERS = 1 << 14;

const QUESTION = Buffer.concat([
  PREFACE,
  settings([]),
  frame(
    FrameType.headers,
    Flag.endHeaders,
    STREAM,
    encodeHeaders([
      [':method', 'POST'],
      [':scheme', 'http'],
      [':path', path],
      [':authority', 'localhost'],
      ['content-type', 'application/grpc'],
      ['te', 'trailers'],
    ]),
  ),
  frame(FrameType.data, Flag.endStream, STREAM, MESSAGE),
]);
const SETTINGS_ACK = frame(FrameType.settings, Flag.ack, 0, Buffer.alloc(0));

/**
 * Asks a CRI socket for its version, as its clients do, on a connection of its own. Throws Unavailable where none listens or
 * where the answer is not OK, at the abort the signal's reason.
 */
export async function askVersion(socket: string, signal: AbortSignal): Promise<void> {
  signal.throwIfAborted();
  const connection = connect(socket);
  const end = () => connection.destroy();
  signal.addEventListener('abort', end);
  try {
    await once(connection, 'connect', { signal });
    connection.write(QUESTION);
    await answered(connection);
  } catch (error) {
    signal.throwIfAborted();
    throw errnoOf(error) ? new CrispError('Unavailable', describeError(error)) : error;
  } finally {
    signal.removeEventListener('abort', end);
    connection.destroy();
  }
  signal.throwIfAborted();
}

/** Settles with the end of the stream. */
async function answered(connection: Socket): Promise<void> {
  const reader = new FrameReader(false);
  const decoder = new HpackDecoder(MAX_HEADERS);
  for await (const bytes of connection) {
    reader.push(bytes as Buffer);
    for (let next = reader.next(); next; next = reader.next()) {
      if (next.type === FrameType.settings && !(next.flags & Flag.ack)) connection.write(SETTINGS_ACK);
      if (next.type === FrameType.rstStream || next.type === FrameType.goAway)
        throw refused('it ended the call');
      if (next.type !== FrameType.headers) continue;
      const fields = decoder.decode(next.payload) ?? [];
      if (!(next.flags & Flag.endStream)) continue;
      const status = fields.find(([name]) => name === 'grpc-status')?.[1];
      if (status !== '0') throw refused(`grpc-status ${status}`);
      return;
    }
  }
  throw refused('the connection ended');
}

const refused = (why: string): CrispError => new CrispError('Unavailable', `no answer to Version: ${why}`);
