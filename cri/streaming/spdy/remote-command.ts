import type { Duplex } from 'node:stream';
import { CrispError } from '#core/errors.ts';
import { withDeadline } from '#core/operation.ts';
import { discardInput, endStream, type RemoteCommand, type RequestedStreams } from '../remote-command.ts';
import { type Outcome, statusDocument, statusText } from '../remote-status.ts';
import { TerminalSizes } from '../terminal-size.ts';
import { RST } from './frames.ts';
import { SpdySession } from './session.ts';
import type { SpdyStream } from './stream.ts';

/** How long a client may take to open its streams. */
const STREAMS_MS = 30_000;
/** A session has five at most; more than these are refused. */
const MAX_STREAMS = 8;

/** The protocol's version, 1 to 4. */
const versionOf = (protocol: string): number => Number(/^v(\d)\./.exec(protocol)?.[1] ?? 1);

/** Names of the streams that the client has to open: `streamType` in their headers. */
function expected({ stdin, stdout, stderr, tty }: RequestedStreams, version: number): Set<string> {
  const names: [string, boolean][] = [
    ['error', true],
    ['stdin', stdin],
    ['stdout', stdout],
    ['stderr', stderr],
    ['resize', tty && version >= 3],
  ];
  return new Set(names.filter(([, requested]) => requested).map(([name]) => name));
}

/**
 * Opens an exec or attach session on a connection; resolves when the client has opened its streams. Throws
 * InvalidArgument for an unexpected stream, DeadlineExceeded with those that are missing after 30 s, Cancelled.
 */
export async function openSpdyCommand(
  transport: Duplex,
  head: Buffer,
  protocol: string,
  requested: RequestedStreams,
  signal: AbortSignal,
): Promise<RemoteCommand> {
  const version = versionOf(protocol);
  const missing = expected(requested, version);
  const opened = new Map<string, SpdyStream>();
  const complete = Promise.withResolvers<void>();
  const session = new SpdySession(transport, head, {
    maxStreams: MAX_STREAMS,
    onStream: (stream) => {
      const name = stream.headers.get('streamtype') ?? '';
      if (!missing.delete(name)) {
        stream.reset(RST.protocolError);
        complete.reject(unexpected(name));
        return;
      }
      opened.set(name, stream);
      if (missing.size === 0) complete.resolve();
    },
  });
  void session.ended.then((reason) => complete.reject(disconnectedBefore(reason)));
  try {
    await withDeadline('wait for the streams', STREAMS_MS, signal, () => complete.promise);
  } catch (error) {
    void session.close();
    if (!(error instanceof CrispError) || error.code !== 'DeadlineExceeded') throw error;
    throw new CrispError(
      'DeadlineExceeded',
      `the client did not open its streams ${[...missing].join(', ')}`,
    );
  }
  return new SpdyCommand(session, opened, version);
}

const unexpected = (name: string): CrispError =>
  new CrispError(
    'InvalidArgument',
    `the client opened a stream of type ${JSON.stringify(name.slice(0, 40))}`,
    {
      hint: 'open each requested stream once',
    },
  );

const disconnectedBefore = (reason = 'it closed the connection'): CrispError =>
  new CrispError('Cancelled', `the client disconnected before its streams were open: ${reason}`);

class SpdyCommand implements RemoteCommand {
  readonly streams: RemoteCommand['streams'];
  readonly closed: Promise<string | undefined>;
  readonly #session: SpdySession;
  readonly #opened: ReadonlyMap<string, SpdyStream>;
  readonly #version: number;

  constructor(session: SpdySession, opened: ReadonlyMap<string, SpdyStream>, version: number) {
    this.#session = session;
    this.#opened = opened;
    this.#version = version;
    this.closed = session.ended;
    const sizes = new TerminalSizes();
    const resize = opened.get('resize');
    if (resize) sizes.follow(resize);
    // Clients half-close the streams that they only read: that must be read, too.
    for (const name of ['error', 'stdout', 'stderr']) discardInput(opened.get(name));
    this.streams = {
      stdin: opened.get('stdin'),
      stdout: opened.get('stdout'),
      stderr: opened.get('stderr'),
      onResize: (listener) => sizes.onResize(listener),
    };
  }

  async finish(outcome: Outcome): Promise<void> {
    const { stdin, stdout, stderr } = this.streams;
    discardInput(stdin);
    await Promise.all([endStream(stdout), endStream(stderr)]);
    const status = this.#version >= 4 ? statusDocument(outcome) : statusText(outcome);
    await endStream(this.#opened.get('error'), status);
    await this.#session.close();
  }

  destroy(): void {
    this.#session.destroy();
  }
}
