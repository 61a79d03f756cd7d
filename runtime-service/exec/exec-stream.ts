import type { Readable, Writable } from 'node:stream';
import type { ContainerId } from '#core/ids.ts';
import type { Operation } from '#core/operation.ts';
import type { Child, ExitStatus } from '#linux/ports/kernel.ts';
import type { DetachedCommand, DetachedRequest, Terminal } from '#linux/ports/streams.ts';
import type { ContainerRecord } from '../container.ts';
import type { Context } from '../context.ts';
import type { ClientStreams } from './client-streams.ts';
import { ExecSession } from './exec-session.ts';
import { checkExec, runningContainer } from './exec-sync.ts';
import { Relay } from './relay.ts';

/** Polls without output, after the end of the command, until outputs that others hold open are not waited for. */
const QUIET_POLLS = 6;
/** How long a terminal's first size is waited for. */
const FIRST_SIZE_MS = 100;
/** Ctrl-D: what a terminal interprets as the end of its input. */
const END_OF_TRANSMISSION = Buffer.from([4]);

export interface StreamedCommand {
  readonly command: readonly string[];
  readonly tty: boolean;
  /** See `ExecSettings`. */
  readonly user?: string | undefined;
}

/**
 * Exec: a command in a running container with a client's streams. Resolves with the exit code when the command has ended
 * and all of its output was written to the client, however long that takes. When the client leaves (`op.signal`) the
 * command is killed with all it has forked; after an end of its own, its background jobs run on. Throws InvalidArgument, NotFound,
 * FailedPrecondition, RuntimeFailed, and the signal's reason.
 */
export async function execStream(
  context: Context,
  id: ContainerId,
  { command, tty, user }: StreamedCommand,
  streams: ClientStreams,
  op: Operation,
): Promise<number> {
  const record = checkExec(context, id, command);
  const session = new ExecSession(context, record);
  let hasEnded = false;
  let ending: Promise<unknown> | undefined;
  const end = () => (ending ??= session.end(op.detached('clean-up'), hasEnded));
  try {
    const size = tty ? await firstSize(streams) : undefined;
    runningContainer(context, id); // it may have ended meanwhile
    await op.stage('prepare', () => session.prepare(command, tty, { size, user }));
    const detached = await op.deadline('start', context.options.timeouts.runtime, (signal) =>
      session.start(stdioOf(streams), tty, signal),
    );
    using io = tty
      ? terminalIo(await terminal(detached, context, op), streams)
      : pipeIo(detached.child, streams);
    const status = await op.stage('command', () => ended(context, end, record, detached.child, op.signal));
    hasEnded = !op.signal.aborted;
    const failure = await session.failureOf(status);
    void end(); // while the client still reads the command's output
    await op.stage('drain', () => io.relay.drained(QUIET_POLLS, op.signal));
    if (failure) throw failure;
    return status.code;
  } finally {
    // Not awaited: the client waits for the exit code. It never rejects.
    void end();
  }
}

const terminal = (
  detached: DetachedCommand,
  { options }: Context,
  op: Operation,
): Promise<Terminal | undefined> =>
  op.deadline('terminal', options.timeouts.runtime, (signal) => detached.terminal(signal));

/** Clients send their terminal's size at once: a command that has it from the start need not draw twice. */
async function firstSize({ onResize }: ClientStreams): Promise<readonly [number, number] | undefined> {
  const { promise, resolve } = Promise.withResolvers<readonly [number, number] | undefined>();
  const timer = setTimeout(() => resolve(undefined), FIRST_SIZE_MS);
  onResize((columns, rows) => resolve([columns, rows]));
  try {
    return await promise;
  } finally {
    clearTimeout(timer);
  }
}

/** Waits for the command's exit; it is killed when the client leaves, the container ends or the daemon stops. */
async function ended(
  { containers }: Context,
  end: () => Promise<unknown>,
  record: ContainerRecord,
  child: Child,
  signal: AbortSignal,
): Promise<ExitStatus> {
  const onAbort = () => void end();
  const forget = containers.onChange((after, before) => {
    if ((after ?? before)?.id === record.id && after?.state !== 'running') onAbort();
  });
  if (signal.aborted || containers.get(record.id)?.state !== 'running') onAbort();
  else signal.addEventListener('abort', onAbort, { once: true });
  try {
    return await child.exited;
  } finally {
    signal.removeEventListener('abort', onAbort);
    forget();
  }
}

const stdioOf = ({ stdin, stdout, stderr }: ClientStreams): DetachedRequest['stdio'] => ({
  stdin: stdin ? 'pipe' : 'null',
  stdout: stdout ? 'pipe' : 'null',
  stderr: stderr ? 'pipe' : 'null',
});

interface ExecIo extends Disposable {
  readonly relay: Relay;
}

function pipeIo(child: Child, { stdin, stdout, stderr }: ClientStreams): ExecIo {
  const relay = new Relay();
  if (stdin && child.stdin) feed(stdin, child.stdin);
  relay.add(child.stdout, stdout);
  relay.add(child.stderr, stderr);
  return {
    relay,
    [Symbol.dispose]() {
      for (const stream of [child.stdin, child.stdout, child.stderr]) stream?.destroy();
    },
  };
}

/** Without a terminal the OCI runtime has failed, which its exit code shows. */
function terminalIo(terminal: Terminal | undefined, { stdin, stdout, onResize }: ClientStreams): ExecIo {
  const relay = new Relay();
  if (terminal) {
    const { stream } = terminal;
    if (stdin) {
      stdin.once('end', () => stream.writable && stream.write(END_OF_TRANSMISSION));
      feed(stdin, stream, { end: false });
    }
    onResize((columns, rows) => terminal.resize(columns, rows));
    relay.add(stream, stdout);
  }
  return { relay, [Symbol.dispose]: () => void terminal?.stream.destroy() };
}

/** Input on its way to the command; when the command has closed it, the rest is read and dropped. */
export function feed(source: Readable, sink: Writable, options: { end?: boolean } = {}): void {
  source.pipe(sink, options);
  const drop = () => {
    source.unpipe(sink);
    source.resume();
  };
  sink.once('error', drop).once('close', drop);
}
