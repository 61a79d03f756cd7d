/** `crisp ctl port-forward`: forwards ports of this machine's localhost to ports of a pod. */
import { once } from 'node:events';
import { createServer, type Server, type Socket } from 'node:net';
import { CrispError, describeError } from '#core/errors.ts';
import { type Command, UsageError } from '../command.ts';
import { type Ctl, FOLLOWING_EXITS } from './context.ts';
import { connectWebSocket } from './remote-session.ts';

const DATA = 0;
const ERROR = 1;
/** Each channel begins with its port in two bytes. */
const PREAMBLE = 2;
const CLOSE = 255;
/** Only the first supports half-close. Servers other than crisp support the second. */
const PROTOCOLS = ['v5.channel.k8s.io', 'v4.channel.k8s.io'];
const MAX_PORT = 65_535;
const LINGER_MS = 10_000;

interface Forwarding {
  /** 0: any that is free. */
  readonly local: number;
  readonly remote: number;
}

function forwardingOf(text: string): Forwarding {
  const found = /^(?:(\d*):)?(\d+)$/.exec(text);
  const remote = Number(found?.[2]);
  const local = found?.[1] === undefined ? remote : Number(found[1]);
  if (!found || remote < 1 || remote > MAX_PORT || local > MAX_PORT)
    throw new UsageError(`a port must be REMOTE, LOCAL:REMOTE or :REMOTE, not '${text}'`);
  return { local, remote };
}

export const portForward: Command<Ctl> = {
  name: 'port-forward',
  usage: 'POD [LOCAL-PORT:]PORT...',
  summary: "Forward ports of this machine's localhost to ports of a pod, until interrupted",
  flags: {},
  arity: [2, Infinity],
  exits: FOLLOWING_EXITS,
  async run(ctl, { args: [pod = '', ...ports] }) {
    const servers: Server[] = [];
    try {
      for (const forwarding of ports.map(forwardingOf)) servers.push(await listen(ctl, pod, forwarding));
      if (!ctl.signal.aborted) await once(ctl.signal, 'abort');
    } finally {
      for (const server of servers) server.close();
    }
    return 0;
  },
};

async function listen(ctl: Ctl, pod: string, { local, remote }: Forwarding): Promise<Server> {
  const server = createServer({ allowHalfOpen: true }, (socket) => {
    socket.on('error', () => {});
    forward(ctl, pod, remote, socket).catch((error: unknown) => {
      ctl.terminal.err(`crisp ctl: port ${remote}: ${describeError(error)}\n`);
      socket.destroy();
    });
  });
  server.listen(local, '127.0.0.1');
  try {
    await once(server, 'listening');
  } catch (error) {
    throw new CrispError('Unavailable', `port ${local} of localhost cannot be bound`, {
      cause: error,
      hint: 'name another one, or :PORT for any that is free',
    });
  }
  const address = server.address();
  const bound = typeof address === 'object' && address ? address.port : local;
  ctl.terminal.out(`127.0.0.1:${bound} -> ${remote}\n`);
  return server;
}

/** Each connection has its own session. */
async function forward(ctl: Ctl, pod: string, port: number, socket: Socket): Promise<void> {
  const { url } = await ctl.client.PortForward({ podSandboxId: pod, port: [port] }, ctl.call());
  const session = await connectWebSocket(url, ctl.signal, PROTOCOLS);
  const skipped = [0, 0];
  session.on('message', (data: Buffer) => {
    const channel = data[0] === DATA ? DATA : ERROR;
    const skip = Math.min(PREAMBLE - (skipped[channel] ?? 0), data.length - 1);
    skipped[channel] = (skipped[channel] ?? 0) + skip;
    const bytes = data.subarray(1 + skip);
    if (bytes.length === 0) return;
    if (channel === ERROR) ctl.terminal.err(`crisp ctl: ${bytes.toString()}\n`);
    else if (!socket.write(bytes)) {
      session.pause();
      socket.once('drain', () => session.resume());
    }
  });
  session.once('close', () => socket.end());
  socket.on('data', (bytes) => {
    socket.pause();
    session.send(Buffer.concat([Buffer.of(DATA), bytes]), () => socket.resume());
  });
  const stop = () => {
    socket.destroy();
    session.terminate();
  };
  ctl.signal.addEventListener('abort', stop, { once: true });
  if (ctl.signal.aborted) stop();
  socket.once('end', () => {
    if (session.protocol === PROTOCOLS[0]) session.send(Buffer.of(CLOSE, DATA), () => {});
    else setTimeout(stop, LINGER_MS).unref(); // v4 has no half-close: the pod gets this time to send the rest
  });
  socket.once('close', () => {
    ctl.signal.removeEventListener('abort', stop);
    session.close(1000);
  });
  session.resume();
}
