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
 * conmon waits for those who are attached, and the container for conmon: a client that takes nothing for so long is
 * given up, so that it holds up nobody else. While the container is being stopped it has less time.
 */
const STALL_MS = 2000;
const HURRIED_STALL_MS = 100;
const LOOK_MS = 50;
/** The socket has said all by then. */
const QUIET_LOOKS = 1;

/**
 * Attach: a client's streams on those of a container's first process, through conmon's attach socket; what was said
 * before is not repeated. Resolves when the container has ended and its words were handed over; rejects when the client
 * goes (`op.signal`), which ends the input of a container with stdin_once. Throws NotFound, FailedPrecondition,
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
  const gone = () => ended.reject(op.signal.reason);
  let patience = STALL_MS;
  const look = setInterval(() => refuseStalled(relay, record, patience, ended.reject), LOOK_MS);
  const forget = context.attachments.add(record.id, () => {
    patience = HURRIED_STALL_MS;
  });

  op.signal.addEventListener('abort', gone, { once: true });
  if (op.signal.aborted) gone();
  try {
    carryOutput(socket, relay, streams);
    carryInput(context, record, socket, streams);
    socket.once('end', ended.resolve).once('close', ended.resolve);
    await op.stage('attached', () => ended.promise);
    await op.stage('drain', () => relay.drained(QUIET_LOOKS, op.signal));
  } finally {
    forget();
    clearInterval(look);
    op.signal.removeEventListener('abort', gone);
    socket.destroy();
  }
}

async function connect(context: Context, record: ContainerRecord): Promise<Duplex> {
  try {
    return await context.kernel.streams.connectPackets(
      `${pathsOf(context.options, record.id).bundle}/attach`,
    );
  } catch (error) {
    throw new CrispError('Unavailable', `the monitor of container ${record.id} takes no clients`, {
      cause: error,
      hint: 'see whether its conmon was killed; its container goes on without it',
    });
  }
}

/** One socket carries both outputs; each packet tells whose it is. */
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
      context.log.warn({ container: record.id, error: describeError(error) }, 'a terminal keeps its size');
    });
  });
}

function refuseStalled(
  relay: Relay,
  record: ContainerRecord,
  patience: number,
  refuse: (reason: CrispError) => void,
): void {
  if (relay.stalledMs < patience) return;
  refuse(
    new CrispError(
      'DeadlineExceeded',
      `the client of container ${record.id} has taken none of its output for ${patience / 1000} s`,
      { hint: 'attach again, and read; the log of the container has it all' },
    ),
  );
}
