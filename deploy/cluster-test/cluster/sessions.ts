/** Exec, attach and port-forward by the client's WebSocket: outputs collected, ends awaited. */
import { once } from 'node:events';
import { PassThrough, Writable } from 'node:stream';
import { Attach, Exec, type KubeConfig, PortForward, type V1Status } from '@kubernetes/client-node';

type Socket = Awaited<ReturnType<Exec['exec']>>;

export interface PodContainer {
  readonly namespace: string;
  readonly pod: string;
  readonly container: string;
}

export interface ExecOptions {
  /** Written at once; its end is sent where the connection's protocol has one (version 5, API server 1.30). */
  readonly input?: string | Buffer;
  /** A terminal of this size: one output for both streams. */
  readonly terminal?: { readonly columns: number; readonly rows: number };
  readonly signal: AbortSignal;
}

export interface ExecResult {
  readonly code: number;
  readonly stdout: Buffer;
  readonly stderr: Buffer;
  /** The subprotocol, such as `v5.channel.k8s.io`. */
  readonly protocol: string;
}

/** Bytes of input in one message of the WebSocket, as kubectl sends it: servers limit a message. */
const MESSAGE = 32 * 1024;

/** Characters of an output in a reason. */
const SHOWN = 200;

/** Keeps what is written, and notifies of it. */
export class Collected extends Writable {
  readonly #chunks: Buffer[] = [];

  override _write(chunk: Buffer, _encoding: BufferEncoding, done: () => void): void {
    this.#chunks.push(chunk);
    this.emit('more');
    done();
  }

  get bytes(): Buffer {
    return Buffer.concat(this.#chunks);
  }

  /** Throws at the signal an error with the end of what has arrived. */
  async until(what: string, found: (text: string) => boolean, signal: AbortSignal): Promise<string> {
    for (;;) {
      const text = this.bytes.toString();
      if (found(text)) return text;
      await once(this, 'more', { signal }).catch(() => {
        throw new Error(`${what}: did not arrive; it ends with: ${JSON.stringify(text.slice(-SHOWN))}`);
      });
    }
  }
}

/** With these properties the client takes it for a terminal, and follows its size. */
export class Terminal extends Collected {
  columns: number;
  rows: number;

  constructor({ columns, rows }: { readonly columns: number; readonly rows: number }) {
    super();
    this.columns = columns;
    this.rows = rows;
  }

  resize(columns: number, rows: number): void {
    this.columns = columns;
    this.rows = rows;
    this.emit('resize');
  }
}

/** Why a WebSocket was not opened: the client rejects with an event. */
export function socketFailure(error: unknown): Error {
  if (error instanceof Error) return error;
  const message = (error as { message?: unknown } | undefined)?.message;
  return new Error(typeof message === 'string' ? message : 'the WebSocket was not opened');
}

/** The exit code that a status carries. Throws for one that is not the end of a command. */
export function exitCodeOf(status: V1Status): number {
  if (status.status === 'Success') return 0;
  const cause = status.details?.causes?.find(({ reason }) => reason === 'ExitCode');
  if (status.reason !== 'NonZeroExitCode' || !/^\d+$/.test(cause?.message ?? ''))
    throw new Error(`exec: ${status.message ?? status.reason ?? 'failed without a message'}`);
  return Number(cause?.message);
}

/** A command that runs: its streams, and the status that ends it. */
export interface Session {
  readonly input: PassThrough;
  readonly stdout: Collected;
  readonly stderr: Collected;
  readonly protocol: string;
  /** Rejects where the connection is closed without a status. */
  readonly ended: Promise<V1Status>;
  close(): void;
}

export async function openExec(
  config: KubeConfig,
  target: PodContainer,
  command: readonly string[],
  options: { readonly stdin?: boolean; readonly terminal?: Terminal },
): Promise<Session> {
  const [input, stderr] = [new PassThrough(), new Collected()];
  const stdout = options.terminal ?? new Collected();
  const status = Promise.withResolvers<V1Status>();
  status.promise.catch(() => undefined); // whoever waits sees it; a session that is closed early has nobody who does
  const socket: Socket = await new Exec(config)
    .exec(
      target.namespace,
      target.pod,
      target.container,
      [...command],
      stdout,
      options.terminal ? null : stderr,
      options.stdin ? input : null,
      options.terminal !== undefined,
      status.resolve,
    )
    .catch((error: unknown) => Promise.reject(socketFailure(error)));
  socket.onclose = ({ code, reason }) =>
    status.reject(new Error(`exec: the connection was closed without a status (${code} ${reason})`));
  const close = (): void => socket.close();
  return { input, stdout, stderr, protocol: socket.protocol, ended: status.promise, close };
}

const aborted = (signal: AbortSignal): Promise<never> =>
  new Promise((_, reject) => {
    if (signal.aborted) reject(signal.reason);
    signal.addEventListener('abort', () => reject(signal.reason), { once: true });
  });

/** Runs a command to its end. Throws where it has none before the signal, or where it could not be started. */
export async function exec(
  config: KubeConfig,
  target: PodContainer,
  command: readonly string[],
  { input, terminal, signal }: ExecOptions,
): Promise<ExecResult> {
  const session = await openExec(config, target, command, {
    stdin: input !== undefined,
    ...(terminal ? { terminal: new Terminal(terminal) } : {}),
  });
  try {
    const bytes = Buffer.from(input ?? '');
    for (let from = 0; from < bytes.length; from += MESSAGE)
      session.input.write(bytes.subarray(from, from + MESSAGE));
    if (input !== undefined && session.protocol === 'v5.channel.k8s.io') session.input.end();
    const code = exitCodeOf(await Promise.race([session.ended, aborted(signal)]));
    const { stdout, stderr, protocol } = session;
    return { code, stdout: stdout.bytes, stderr: stderr.bytes, protocol };
  } finally {
    session.close();
  }
}

/** Attaches to a container's main process. */
export async function openAttach(config: KubeConfig, target: PodContainer): Promise<Omit<Session, 'ended'>> {
  const [input, stdout, stderr] = [new PassThrough(), new Collected(), new Collected()];
  const { namespace, pod, container } = target;
  const socket = await new Attach(config)
    .attach(namespace, pod, container, stdout, stderr, input, false)
    .catch((error: unknown) => Promise.reject(socketFailure(error)));
  return { input, stdout, stderr, protocol: socket.protocol, close: () => socket.close() };
}

export interface Forwarded {
  readonly input: PassThrough;
  readonly output: Collected;
  readonly errors: Collected;
  close(): void;
}

/** One connection to a port of a pod. */
export async function openForward(
  config: KubeConfig,
  namespace: string,
  pod: string,
  port: number,
): Promise<Forwarded> {
  const [input, output, errors] = [new PassThrough(), new Collected(), new Collected()];
  const made = await new PortForward(config, false)
    .portForward(namespace, pod, [port], output, errors, input)
    .catch((error: unknown) => Promise.reject(socketFailure(error)));
  const socket = typeof made === 'function' ? made() : made;
  return { input, output, errors, close: () => socket?.close() };
}
