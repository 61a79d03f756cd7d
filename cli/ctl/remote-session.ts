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
/** Only the first supports end of input (closing a channel). */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
/** Bytes buffered for sending at which the input is paused. */
const MAX_BUFFERED = 1 << 20;

export interface SessionOptions {
  readonly interactive: boolean;
  readonly tty: boolean;
}

/** The stream fields of an Exec or Attach request. */
export const streamsOf = ({ interactive, tty }: SessionOptions) => ({
  stdin: interactive,
  stdout: true,
  stderr: !tty,
  tty,
});

/**
 * Connects this process's input, output and terminal to the session; resolves to the reported exit code, 0 for
 * success. Throws Unavailable where the connection fails, RuntimeFailed with the message of a failed session.
 */
export async function joinSession(
  url: string,
  options: SessionOptions,
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
  using _input = options.interactive ? forwardInput(socket) : undefined;
  using _screen = options.tty ? await forwardTerminal(socket) : undefined;
  const stop = () => socket.terminate();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
  socket.resume();
  await ended;
  signal.removeEventListener('abort', stop);
  if (signal.aborted) throw signal.reason;
  return exitCodeOf(status);
}

/** Paused, so that no message is lost before the listeners are added. Throws Unavailable. */
export async function connectWebSocket(
  url: string,
  signal: AbortSignal,
  protocols = PROTOCOLS,
): Promise<WebSocket> {
  const socket = new WebSocket(url.replace(/^http/, 'ws'), protocols, { perMessageDeflate: false });
  const stop = () => socket.terminate();
  signal.addEventListener('abort', stop, { once: true });
  if (signal.aborted) stop();
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
  if (text === '') throw new CrispError('Unavailable', 'the connection closed before the end of the session');
  const { status, message, details } = JSON.parse(text) as {
    status?: string;
    message?: string;
    details?: { causes?: { reason?: string; message?: string }[] };
  };
  if (status === 'Success') return 0;
  const code = details?.causes?.find(({ reason }) => reason === 'ExitCode')?.message;
  if (code !== undefined) return Number(code) & 0xff;
  throw new CrispError('RuntimeFailed', message ?? 'the session failed');
}

function forwardInput(socket: WebSocket): Disposable {
  const { stdin } = process;
  const send = (bytes: Buffer) => {
    socket.send(Buffer.concat([Buffer.of(STDIN), bytes]), () => {
      if (socket.bufferedAmount < MAX_BUFFERED) stdin.resume();
    });
    if (socket.bufferedAmount >= MAX_BUFFERED) stdin.pause();
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

/** Raw mode during the session; resizes are forwarded. */
async function forwardTerminal(socket: WebSocket): Promise<Disposable> {
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
