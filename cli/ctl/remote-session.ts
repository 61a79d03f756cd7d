/** The client's side of exec and attach, over the channel protocols of Kubernetes in a WebSocket. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { CrispError } from '#core/errors.ts';
import type { Terminal } from './context.ts';

const STDIN = 0;
const STDOUT = 1;
const STDERR = 2;
const ERROR = 3;
const RESIZE = 4;
const CLOSE = 255;
/** The first of them has an end of the input. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
/** Bytes that may wait on their way out before the input is held. */
const MOST_WAITING = 1 << 20;

export interface SessionWishes {
  readonly interactive: boolean;
  readonly tty: boolean;
}

/** The flags of a request for the session's URL. */
export const streamsOf = ({ interactive, tty }: SessionWishes) => ({
  stdin: interactive,
  stdout: true,
  stderr: !tty,
  tty,
});

/**
 * Joins this process's input, output and terminal with the session; resolves with the exit code that it tells, 0 where it
 * tells success. Throws Unavailable where the connection fails, RuntimeFailed with what the session says of a failure.
 */
export async function joinSession(
  url: string,
  wishes: SessionWishes,
  terminal: Terminal,
  signal: AbortSignal,
): Promise<number> {
  const socket = await connectWebSocket(url, signal);
  const ended = new Promise<void>((resolve) => socket.once('close', () => resolve()));
  let status = '';
  socket.on('message', (data: Buffer) => {
    const bytes = data.subarray(1);
    if (bytes.length === 0) return;
    if (data[0] === STDOUT) terminal.out(bytes);
    else if (data[0] === STDERR) terminal.err(bytes);
    else if (data[0] === ERROR) status += bytes.toString();
  });
  using _input = wishes.interactive ? takeInput(socket) : undefined;
  using _screen = wishes.tty ? await takeTerminal(socket) : undefined;
  const stop = () => socket.terminate();
  signal.addEventListener('abort', stop, { once: true });
  socket.resume();
  await ended;
  signal.removeEventListener('abort', stop);
  if (signal.aborted) throw signal.reason;
  return exitCodeOf(status);
}

/** Paused, so that nothing is missed until somebody listens. Throws Unavailable. */
export async function connectWebSocket(
  url: string,
  signal: AbortSignal,
  protocols = PROTOCOLS,
): Promise<WebSocket> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, { perMessageDeflate: false });
  const stop = () => socket.terminate();
  signal.addEventListener('abort', stop, { once: true });
  socket.once('open', () => socket.pause());
  try {
    await once(socket, 'open');
    socket.on('error', () => {}); // the close that follows ends the session
    return socket;
  } catch (error) {
    throw new CrispError('Unavailable', `the session at ${new URL(url).origin} cannot be opened`, {
      cause: error,
    });
  } finally {
    signal.removeEventListener('abort', stop);
  }
}

function exitCodeOf(text: string): number {
  if (text === '') throw new CrispError('Unavailable', 'the session was cut off before its end');
  const { status, message, details } = JSON.parse(text) as {
    status?: string;
    message?: string;
    details?: { causes?: { reason?: string; message?: string }[] };
  };
  if (status === 'Success') return 0;
  const code = details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (code !== undefined) return Number(code) & 0xff;
  throw new CrispError('RuntimeFailed', message ?? 'the session has failed');
}

function takeInput(socket: WebSocket): Disposable {
  const { stdin } = process;
  const send = (bytes: Buffer) => {
    socket.send(Buffer.concat([Buffer.of(STDIN), bytes]), () => {
      if (socket.bufferedAmount < MOST_WAITING) stdin.resume();
    });
    if (socket.bufferedAmount >= MOST_WAITING) stdin.pause();
  };
  const end = () => {
    if (socket.protocol === PROTOCOLS[0]) socket.send(Buffer.of(CLOSE, STDIN), () => {});
  };
  stdin.on('data', send).once('end', end);
  return {
    [Symbol.dispose]() {
      stdin.off('data', send).off('end', end).pause();
    },
  };
}

/** Raw while the session lasts; its size follows the window. */
async function takeTerminal(socket: WebSocket): Promise<Disposable> {
  const { stdin, stdout } = process;
  const size = () => {
    const document = JSON.stringify({ Width: stdout.columns, Height: stdout.rows });
    socket.send(Buffer.concat([Buffer.of(RESIZE), Buffer.from(document)]), () => {});
  };
  if (stdout.isTTY) size();
  stdout.on('resize', size);
  const raw = stdin.isTTY ? (await import('#daemon/raw-terminal.ts')).rawTerminal(stdin.fd) : undefined;
  return {
    [Symbol.dispose]() {
      raw?.[Symbol.dispose]();
      stdout.off('resize', size);
    },
  };
}
