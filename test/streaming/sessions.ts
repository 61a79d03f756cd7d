/** Exec and attach sessions of tests over either transport, with one interface. */
import { once } from 'node:events';
import { WebSocket } from 'ws';
import { type ClientStream, SpdyClient } from './spdy-client.ts';

/** A busy machine takes its time. */
const WAIT_MS = 120_000;

export interface StreamFlags {
  readonly stdin?: boolean;
  readonly stdout?: boolean;
  readonly stderr?: boolean;
  readonly tty?: boolean;
}

export interface Ended {
  readonly stdout: string;
  readonly stderr: string;
  readonly status: {
    readonly status?: string;
    readonly reason?: string;
    readonly message?: string;
    readonly code?: number;
  };
  readonly exitCode: number | undefined;
}

export interface TestSession {
  readonly stdout: () => string;
  write(text: string | Uint8Array): Promise<void>;
  endInput(): Promise<void>;
  resize(columns: number, rows: number): Promise<void>;
  until(what: string, condition: () => boolean): Promise<void>;
  /** Waits for the end of the connection. */
  ended(): Promise<Ended>;
  /** Stops reading from the connection, until it is resumed. */
  pause(): void;
  resume(): void;
  /** Destroys the connection. */
  vanish(): void;
}

export type Open = (url: string, flags: StreamFlags) => Promise<TestSession>;

function result(stdout: string, stderr: string, error: string): Ended {
  const status = error === '' ? {} : JSON.parse(error);
  const cause = status.details?.causes?.find((one: { reason?: string }) => one.reason === 'ExitCode');
  const exitCode = status.status === 'Success' ? 0 : cause ? Number(cause.message) : undefined;
  return { stdout, stderr, status, exitCode };
}

export const openSpdy: Open = async (url, flags) => {
  const client = await SpdyClient.open(url, 'v4.channel.k8s.io');
  const opened: Partial<Record<string, ClientStream>> = {};
  for (const type of ['error', 'stdin', 'stdout', 'stderr'] as const) {
    if (type === 'error' || flags[type]) opened[type] = await client.stream({ streamType: type });
  }
  if (flags.tty) opened['resize'] = await client.stream({ streamType: 'resize' });
  const text = (type: string) => opened[type]?.text ?? '';
  return {
    stdout: () => text('stdout'),
    write: async (bytes) => opened['stdin']?.write(bytes),
    endInput: async () => opened['stdin']?.end(),
    resize: async (columns, rows) =>
      opened['resize']?.write(JSON.stringify({ Width: columns, Height: rows })),
    until: (what, condition) => client.until(what, condition),
    async ended() {
      await client.until('the connection ends', () => client.closed);
      return result(text('stdout'), text('stderr'), text('error'));
    },
    pause: () => void client.socket.pause(),
    resume: () => void client.socket.resume(),
    vanish: () => client.socket.destroy(),
  };
};

/** The channel protocols; v4 and older have no way to end the input. */
export const openWebSocket =
  (protocol: string): Open =>
  async (url) => {
    const socket = new WebSocket(url.replace('http', 'ws'), protocol === '' ? [] : [protocol]);
    const base64 = protocol.includes('base64');
    const texts: Buffer[][] = [[], [], [], [], []];
    let closed = false;
    let check = () => {};
    socket.on('message', (data: Buffer) => {
      const channel = base64 ? (data[0] ?? 0) - 0x30 : (data[0] ?? 0);
      texts[channel]?.push(base64 ? Buffer.from(data.toString('latin1', 1), 'base64') : data.subarray(1));
      check();
    });
    socket.on('error', () => {});
    socket.on('close', () => {
      closed = true;
      check();
    });
    await once(socket, 'open');
    const text = (channel: number) => Buffer.concat(texts[channel] ?? []).toString();
    const send = (channel: number, bytes: Uint8Array): Promise<void> =>
      new Promise((resolve) => {
        const data = base64
          ? `${channel}${Buffer.from(bytes).toString('base64')}`
          : Buffer.concat([Buffer.of(channel), bytes]);
        socket.send(data, () => resolve());
      });
    const until = (what: string, condition: () => boolean): Promise<void> =>
      new Promise((resolve, reject) => {
        const timer = setTimeout(() => reject(new Error(`${what}: not within ${WAIT_MS} ms`)), WAIT_MS);
        check = () => {
          if (!condition()) return;
          clearTimeout(timer);
          resolve();
        };
        check();
      });
    return {
      stdout: () => text(1),
      write: (bytes) => send(0, Buffer.from(bytes)),
      endInput: async () => {
        if (protocol.startsWith('v5')) socket.send(Buffer.of(255, 0));
      },
      resize: (columns, rows) => send(4, Buffer.from(JSON.stringify({ Width: columns, Height: rows }))),
      until,
      async ended() {
        await until('the connection ends', () => closed);
        const plain = !/^v[45]/.test(protocol);
        return result(
          text(1),
          text(2),
          plain && text(3) !== '' ? JSON.stringify({ message: text(3) }) : text(3),
        );
      },
      pause: () => socket.pause(),
      resume: () => socket.resume(),
      vanish: () => socket.terminate(),
    };
  };
