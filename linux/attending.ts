/** Commands that an OCI runtime leaves behind in a container, by the third trade of the pause program (attend.c). */
import { closeSync } from 'node:fs';
import { CrispError } from '#core/errors.ts';
import { abandoned } from './abort.ts';
import { check } from './errno.ts';
import type { Child, Processes } from './kernel.ts';
import { fcntl, pidfdGetDescriptor, pidfdOpen } from './libc.ts';
import type { AttendedCommand, AttendRequest } from './streams.ts';
import { terminalOf } from './terminal.ts';

const TELL = 3;
const LET_GO = 4;
const F_SETFL = 4;
const O_RDWR = 2;
const O_NONBLOCK = 0o4000;
/** Descriptors of one process are few: a longer line is none of ours. */
const MAX_LINE = 12;

/** See `Streams.attend`. */
export async function attend(
  spawn: Processes['spawn'],
  program: string,
  request: AttendRequest,
  signal: AbortSignal,
): Promise<AttendedCommand> {
  const { argv, env, enter = [], directory, pidFile, terminal, stdio } = request;
  const child = await spawn({
    argv: [program, 'attend', pidFile, terminal ?? '-', '--', ...argv],
    env,
    enter,
    cwd: directory,
    ...(terminal === undefined ? stdio : { stdin: 'null', stdout: 'null', stderr: 'null' }),
    ...(terminal === undefined ? {} : { extra: { [TELL]: 'read', [LET_GO]: 'write' } }),
  });
  if (terminal === undefined) return { child, terminal: undefined };
  const told = child.extra[TELL];
  const letGo = child.extra[LET_GO];
  try {
    const number = await line(child, signal);
    return { child, terminal: number === undefined ? undefined : terminalOf(take(child, number)) };
  } finally {
    told?.destroy();
    letGo?.destroy();
  }
}

/** The number of the terminal's descriptor; undefined where the runtime has failed. */
async function line(child: Child, signal: AbortSignal): Promise<number | undefined> {
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const onAbort = () => reject(abandoned('wait for the terminal', signal));
  let said = '';
  const pipe = child.extra[TELL];
  pipe?.on('data', (chunk: Buffer) => {
    said += chunk.toString('latin1');
    if (said.includes('\n') || said.length > MAX_LINE) resolve(said);
  });
  pipe?.once('close', () => resolve(said));
  signal.addEventListener('abort', onAbort, { once: true });
  if (signal.aborted) onAbort();
  try {
    const text = await promise;
    if (text === '') return undefined;
    if (/^\d+\n$/.test(text)) return Number(text);
    throw new CrispError('Internal', `the attendant of a command said ${JSON.stringify(text.slice(0, 40))}`);
  } finally {
    signal.removeEventListener('abort', onAbort);
  }
}

/** A descriptor of our own for what the child has open; it does not block. */
function take(child: Child, number: number): number {
  const { pid } = child.process;
  const what = `take the terminal of process ${pid}`;
  const pidfd = check(pidfdOpen(pid), what);
  try {
    const fd = check(pidfdGetDescriptor(pidfd, number), what);
    try {
      check(fcntl(fd, F_SETFL, O_RDWR | O_NONBLOCK), what);
      return fd;
    } catch (error) {
      closeSync(fd);
      throw error;
    }
  } finally {
    closeSync(pidfd);
  }
}
