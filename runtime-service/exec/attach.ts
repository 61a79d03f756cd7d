import type { Duplex } from 'node:stream';
import { CrispError, describeError } from '#core/errors.ts';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { ContainerRecord } from '../container.ts';
import { type Context, pathsOf } from '../context.ts';
import { sendControl } from '../monitor/control.ts';
import type { ClientStreams } from './client-streams.ts';
import { feed } from './exec-stream.ts';
import { runningContainer } from './exec-sync.ts';
import { Relay } from './relay.ts';

/** The first byte of each of conmon's packets. */
const STDOUT = 2;
const STDERR = 3;
/**
 * conmon waits for its clients, and the container for conmon: a client that reads nothing for so long is disconnected, so
 * that it does not block the container or other clients. While the container is being stopped it has less time.
 */
const STALL_MS = 2000;
const STOPPING_STALL_MS = 100;
const POLL_MS = 50;
/** All output has been read from the socket by then. */
const QUIET_POLLS = 1;

/**
 * Attach: a client's streams on those of a container's first process, through conmon's attach socket; earlier output is
 * not repeated. Resolves when the container has ended and its output was written to the client; rejects when the client
 * leaves (`op.signal`), which ends the input of a container with stdin_once. Throws NotFound, FailedPrecondition,
 * Unavailable, DeadlineExceeded.
 */
export async function attach(
  context: Context,
  id: ContainerId,
  streams: ClientStreams,
  op: Operation,
): Promise<void> {
  const record = runningContainer(context, id);
  const socket = await op.stage('connect', () => connect(context, record));
  const relay = new Relay();
  const ended = Promise.withResolvers<void>();
  const onAbort = () => ended.reject(op.signal.reason);
  let limitMs = STALL_MS;
  const timer = setInterval(() => refuseStalled(relay, record, limitMs, ended.reject), POLL_MS);
  const forget = context.attachments.add(record.id, () => {
    limitMs = STOPPING_STALL_MS;
  });

  op.signal.addEventListener('abort', onAbort, { once: true });
  if (op.signal.aborted) onAbort();
  try {
    carryOutput(socket, relay, streams);
    carryInput(context, record, socket, streams);
    socket.once('end', ended.resolve).once('close', ended.resolve);
    await op.stage('attached', () => ended.promise);
    await op.stage('drain', () => relay.drained(QUIET_POLLS, op.signal));
  } finally {
    forget();
    clearInterval(timer);
    op.signal.removeEventListener('abort', onAbort);
    socket.destroy();
  }
}

async function connect(context: Context, record: ContainerRecord): Promise<Duplex> {
  try {
    return await context.kernel.streams.connectPackets(
      `${pathsOf(context.options, record.id).bundle}/attach`,
    );
  } catch (error) {
    throw new CrispError('Unavailable', `the monitor of container ${record.id} accepts no clients`, {
      cause: error,
      hint: 'check whether its conmon was killed; its container runs on without it',
    });
  }
}

/** One socket carries both outputs; the first byte of each packet names the stream. */
function carryOutput(socket: Duplex, relay: Relay, { stdout, stderr }: ClientStreams): void {
  socket.on('data', (packet: Buffer) => {
    const sink = packet[0] === STDOUT ? stdout : packet[0] === STDERR ? stderr : undefined;
    if (packet.length > 1) relay.pass(packet.subarray(1), socket, sink);
  });
}

function carryInput(
  context: Context,
  record: ContainerRecord,
  socket: Duplex,
  { stdin, onResize }: ClientStreams,
): void {
  if (stdin && record.stdin) feed(stdin, socket);
  else stdin?.resume();
  if (!record.tty) return;
  onResize((columns, rows) => {
    sendControl(context, record, `1 ${rows} ${columns}\n`).catch((error: unknown) => {
      context.log.warn(
        { container: record.id, error: describeError(error) },
        'the terminal could not be resized',
      );
    });
  });
}

function refuseStalled(
  relay: Relay,
  record: ContainerRecord,
  limitMs: number,
  refuse: (reason: CrispError) => void,
): void {
  if (relay.stalledMs < limitMs) return;
  refuse(
    new CrispError(
      'DeadlineExceeded',
      `the client of container ${record.id} has read none of its output for ${limitMs / 1000} s`,
      { hint: 'attach again, and read; the log of the container has all output' },
    ),
  );
}
